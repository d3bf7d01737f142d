<?php
/* Takes all memory that there is, in a way that PHP's own memory_limit does not see (as of a bad extension), 8 MiB at a time, with a
 * pause after each. Never returns. Who takes it, and since when, is on the disk before. */
function take_all(int $pause_us = 0): void
{
    $file = fopen('/var/lib/hog/taker', 'w');
    fprintf($file, "%d %.6f\n", getmypid(), microtime(true));
    fsync($file);
    for (;;) {
        FFI::memset(FFI::new('char[8388608]', false, true), 120, 8388608);
        usleep($pause_us);
    }
}
