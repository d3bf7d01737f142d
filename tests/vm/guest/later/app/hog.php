<?php
/* Every request takes 6 MiB and gives them back; one that is asked to (all) takes all that there is, and hears no SIGTERM (deaf). */
require 'take.php';

$held = str_repeat('x', 6 << 20);
unset($held);
if (isset($_GET['deaf']))
    FFI::cdef('long signal(int number, long handler);')->signal(15, 1);     /* SIG_IGN */
if (isset($_GET['all']))
    take_all();
echo getmypid();
