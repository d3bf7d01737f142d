<?php
/* Another service on the same host, in a unit of its own: needs nothing. */
header('Content-Type: application/json');
echo json_encode(['kind' => 'neighbour', 'waited_ms' => 0]), "\n";
