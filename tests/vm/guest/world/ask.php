<?php
/* Asks the database by mysqli, again and again; a line each: when (monotonic, s), how long it took, "ok" or why not. */
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
for (;;) {
    $start = hrtime(true);
    $said = 'ok';
    try {
        $db = mysqli_init();
        $db->options(MYSQLI_OPT_CONNECT_TIMEOUT, 10);
        $db->options(MYSQLI_OPT_READ_TIMEOUT, 10);
        $db->real_connect('10.9.0.2', 'app', 'app', 'app');
        $db->query('SELECT name, value FROM config LIMIT 1')->fetch_assoc();
        $db->close();
    } catch (mysqli_sql_exception $e) {
        $said = $e->getMessage();
    }
    file_put_contents($argv[1], sprintf("%.3f %.3f %s\n", $start / 1e9, (hrtime(true) - $start) / 1e9, $said), FILE_APPEND);
    usleep(700000);
}
