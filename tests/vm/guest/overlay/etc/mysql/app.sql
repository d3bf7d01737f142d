CREATE DATABASE IF NOT EXISTS app;
CREATE TABLE IF NOT EXISTS app.config (name VARCHAR(32) PRIMARY KEY, value VARCHAR(64), delay_s DOUBLE);
INSERT IGNORE INTO app.config VALUES ('main', 'configuration 1', 0);
UPDATE app.config SET delay_s = 0;
CREATE USER IF NOT EXISTS 'app'@'10.9.0.1' IDENTIFIED BY 'app';
GRANT SELECT ON app.* TO 'app'@'10.9.0.1';
