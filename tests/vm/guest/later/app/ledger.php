<?php
/*
 * Writes one entry into three systems, then acknowledges it: a row in the database, a file in a spool, a line with a second service.
 * Each entry tells which worker wrote it.
 *
 *   id=ID      whose entry
 *   at=N       before its step N (0 to 2; 3: before the acknowledgement) this request takes all memory that there is
 *   slow       ... not as fast as it can, but without a pause that lasts
 *   early      the mistake that the scenario's check must find: acknowledges first, then writes
 */
require 'take.php';

const SPOOL = '/srv/spool';

function write_row(string $id): void
{
    $db = mysqli_init();
    $db->options(MYSQLI_OPT_CONNECT_TIMEOUT, 10);
    $db->real_connect('10.9.0.2', 'app', 'app', 'app');
    $db->execute_query('INSERT INTO ledger (id, pid) VALUES (?, ?)', [$id, getmypid()]);
    $db->close();
}

function write_file(string $id): void
{
    $new = SPOOL . "/.new-$id";
    $file = fopen($new, 'x');
    fwrite($file, "$id " . getmypid() . "\n");
    if (!fsync($file) || !fclose($file) || !rename($new, SPOOL . "/$id"))
        throw new RuntimeException('spool');
}

function tell_second(string $id): void
{
    $context = stream_context_create(['http' => ['method' => 'POST', 'content' => "$id " . getmypid(), 'timeout' => 10,
                                                 'header' => 'Content-Type: text/plain']]);
    if (file_get_contents('http://127.0.0.1:7070/', false, $context) !== 'kept')
        throw new RuntimeException('second service');
}

function acknowledge(string $id): void
{
    header('Content-Type: application/json');
    echo json_encode(['id' => $id, 'pid' => getmypid()]);
}

function main(): void
{
    $id = $_GET['id'];
    if (!preg_match('/^[a-z0-9-]{1,32}$/', $id))
        throw new RuntimeException('id');
    $held = str_repeat('x', 6 << 20);
    if (isset($_GET['early'])) {
        acknowledge($id);
        fastcgi_finish_request();
    }
    foreach (['write_row', 'write_file', 'tell_second', 'acknowledge'] as $number => $step) {
        if (($_GET['at'] ?? '') === (string)$number)
            isset($_GET['slow']) ? take_all(1 << 20, 10000) : take_all();
        $step($id);
    }
}

try {
    main();
} catch (Throwable $e) {
    http_response_code(503);
    echo $e->getMessage();
}
