<?php
/*
 * The API of the incident: authenticated requests need a configuration that is
 * cached in APCu; when the cache has nothing, they ask the database, and hold
 * their memory while they wait for it.
 *
 *   /plain...                needs nothing from the database
 *   /auth...                 needs the cached configuration
 *   /locked...               needs it as well, read under one lock of the cache: all wait for whoever asks
 *   /flushed...              sends its first byte before it looks for it
 *   /proxied...              asks the database through a proxy on this host, which accepts at once
 *   /slow?ms=3000            sleeps, then answers (a slow endpoint of its own)
 *   /events?s=10             an event stream: one event at once, then one a second
 *   /upload                  takes a body
 *   /admin/offline?life=N    offline mode: resets the cache, which then lives N seconds
 *   /admin/online            ends offline mode and resets the cache
 */

const CONFIG_LIFE_S = 8;            /* life of the cached configuration */
const DATABASE_WAIT_S = 10;         /* connect and read timeout, as nobody changed it */
const ADMINS = ['127.0.0.1', '10.0.2.2']; /* the guest itself, and the emulator's host */
const HELD_BYTES = 6 * 1024 * 1024; /* held, and touched, by each waiting request */

function answer(int $status, array $body): void
{
    http_response_code($status);
    header('Content-Type: application/json');
    echo json_encode($body), "\n";
}

/* Reads the configuration from the database; throws mysqli_sql_exception. */
function config_read(string $host = '10.9.0.2', int $port = 3306): array
{
    $db = mysqli_init();
    $db->options(MYSQLI_OPT_CONNECT_TIMEOUT, DATABASE_WAIT_S);
    $db->options(MYSQLI_OPT_READ_TIMEOUT, DATABASE_WAIT_S);
    $db->real_connect($host, 'app', 'app', 'app', $port);
    $row = $db->query('SELECT name, value, SLEEP(delay_s) FROM config LIMIT 1')->fetch_assoc();
    $db->close();
    return ['name' => $row['name'], 'value' => $row['value']];
}

/* What the request holds until its end: a global, or opcache would free it at once as unused. */
$held = '';

/* Takes the configuration from the cache, or from the database into the cache. */
function config_get(bool &$was_cached, string $host = '10.9.0.2', int $port = 3306): array
{
    global $held;
    $config = apcu_fetch('config', $was_cached);
    if ($was_cached)
        return $config;
    $held = str_repeat("\xa5", HELD_BYTES);
    $config = config_read($host, $port);
    apcu_store('config', $config, apcu_fetch('offline') ?: CONFIG_LIFE_S);
    return $config;
}

function route_auth(): void
{
    $start = hrtime(true);
    $was_cached = false;
    try {
        $config = config_get($was_cached);
        answer(200, ['kind' => 'auth', 'cached' => $was_cached, 'config' => $config['value'],
                     'waited_ms' => intdiv(hrtime(true) - $start, 1000000)]);
    } catch (mysqli_sql_exception $e) {
        $waited_ms = intdiv(hrtime(true) - $start, 1000000);
        answer(503, ['kind' => 'auth', 'error' => 'no configuration: ' . $e->getMessage(),
                     'errno' => $e->getCode(), 'waited_ms' => $waited_ms]);
    }
}

/* By a local proxy: the connect succeeds at once, whether there is a database or not. */
function route_proxied(): void
{
    $was_cached = false;
    try {
        $config = config_get($was_cached, '127.0.0.1', 3307);
        answer(200, ['kind' => 'proxied', 'cached' => $was_cached, 'config' => $config['value']]);
    } catch (mysqli_sql_exception $e) {
        answer(503, ['kind' => 'proxied', 'error' => 'no configuration: ' . $e->getMessage(), 'errno' => $e->getCode()]);
    }
}

/* Whoever finds the cache empty asks the database; all others wait for the cache's lock meanwhile. */
function route_locked(): void
{
    global $held;
    $config = apcu_fetch('locked', $was_cached);
    try {
        if (!$was_cached) {
            $held = str_repeat("\xa5", HELD_BYTES);
            $config = apcu_entry('locked', fn() => config_read(), CONFIG_LIFE_S);
        }
        answer(200, ['kind' => 'locked', 'cached' => $was_cached, 'config' => $config['value']]);
    } catch (mysqli_sql_exception $e) {
        answer(503, ['kind' => 'locked', 'error' => 'no configuration: ' . $e->getMessage(), 'errno' => $e->getCode()]);
    }
}

/* The head of a page leaves at once, the rest when the configuration is there: its status was sent before. */
function route_flushed(): void
{
    header('Content-Type: text/plain');
    header('X-Accel-Buffering: no');
    while (ob_get_level())
        ob_end_flush();
    echo "head\n";
    flush();
    $was_cached = false;
    try {
        echo 'config ', config_get($was_cached)['value'], "\n";
    } catch (mysqli_sql_exception $e) {
        echo 'no configuration: ', $e->getMessage(), "\n";
    }
}

function route_plain(): void
{
    $sum = 0;
    for ($i = 0; $i < 500; $i++)
        $sum = ($sum * 31 + $i) & 0xffffff;
    answer(200, ['kind' => 'plain', 'sum' => $sum, 'waited_ms' => 0]);
}

function route_slow(): void
{
    $ms = min(30000, (int)($_GET['ms'] ?? 3000));
    usleep($ms * 1000);
    answer(200, ['kind' => 'slow', 'waited_ms' => $ms]);
}

/* Each event leaves at once: nothing on the way may gather them. */
function route_events(): void
{
    $seconds = min(30, (int)($_GET['s'] ?? 10));
    header('Content-Type: text/event-stream');
    header('X-Accel-Buffering: no');
    while (ob_get_level())
        ob_end_flush();
    for ($i = 0; $i <= $seconds; $i++) {
        echo "data: $i\n\n";
        flush();
        if ($i < $seconds)
            sleep(1);
    }
}

function route_upload(): void
{
    answer(200, ['kind' => 'upload', 'bytes' => strlen(file_get_contents('php://input')), 'waited_ms' => 0]);
}

/* Offline mode resets the cache at this instant and fills it for $life seconds. */
function route_offline(): void
{
    $life = max(1, (int)($_GET['life'] ?? 30));
    $config = config_read();
    apcu_clear_cache();
    apcu_store('offline', $life);
    apcu_store('config', $config, $life);
    answer(200, ['kind' => 'admin', 'offline_s' => $life]);
}

function route_online(): void
{
    apcu_clear_cache();
    answer(200, ['kind' => 'admin', 'offline_s' => 0]);
}

const ROUTES = [
    '/auth' => 'route_auth',
    '/locked' => 'route_locked',
    '/flushed' => 'route_flushed',
    '/proxied' => 'route_proxied',
    '/plain' => 'route_plain',
    '/slow' => 'route_slow',
    '/events' => 'route_events',
    '/upload' => 'route_upload',
    '/admin/offline' => 'route_offline',
    '/admin/online' => 'route_online',
];

function main(): void
{
    $path = strtok($_SERVER['REQUEST_URI'], '?');
    if (str_starts_with($path, '/admin') && !in_array($_SERVER['REMOTE_ADDR'], ADMINS)) {
        answer(403, ['error' => 'not from here']);
        return;
    }
    foreach (ROUTES as $prefix => $route)
        if (str_starts_with($path, $prefix)) {
            $route();
            return;
        }
    answer(404, ['error' => 'no such path']);
}

main();
