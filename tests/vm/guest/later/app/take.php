<?php
/* Takes all memory that there is, in a way that PHP's own memory_limit does not see (as of a bad extension), so much at a time, with a
 * pause after each. Never returns. Who takes it, and since when, is on the disk before. */
function take_all(int $bytes = 8 << 20, int $pause_us = 0): void
{
    $file = fopen('/var/lib/hog/taker', 'w');
    fprintf($file, "%d %.6f\n", getmypid(), microtime(true));
    fsync($file);
    for (;;) {
        FFI::memset(FFI::new("char[$bytes]", false, true), 120, $bytes);
        usleep($pause_us);
    }
}
