// A worker that is one process: HTTP/1.1 on 7200 with connections that stay, at both ends.
//   /plain    needs nobody
//   /own      asks 10.9.0.3, over a pool
//   /proxied  asks 10.9.0.5 through the HAProxy of this host, over a pool
//   /dual     asks a name with a dead IPv6 and a living IPv4 address, each time anew
// Each answer tells when its connect began, on the machine's monotonic clock, in seconds; 0 = the pool had a connection.
'use strict';
const http = require('http');

const WAIT_MS = 10000; // as nobody changed it
// few, or requests after a return would all wait on connections, and nobody would connect
const pool = new http.Agent({ keepAlive: true, maxFreeSockets: 2 });
const TARGETS = {
	'/own': { host: '10.9.0.3', port: 7000, agent: pool },
	'/proxied': { host: '127.0.0.1', port: 7100, agent: pool },
	'/dual': { host: 'dual.world', port: 7000, agent: false, autoSelectFamily: true },
};
const now = () => Number(process.hrtime.bigint()) / 1e9;

function answer(response, status, body) {
	const text = JSON.stringify(body) + '\n';
	response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': text.length });
	response.end(text);
}

function ask(target, response) {
	const started = now();
	let began = started;
	const asked = http.get({ ...target, path: '/', timeout: WAIT_MS }, (from) => {
		from.resume();
		from.on('end', () => answer(response, 200, { began, waited: now() - started }));
	});
	asked.on('socket', () => { if (asked.reusedSocket) began = 0; });
	asked.on('timeout', () => asked.destroy(Object.assign(new Error('timeout'), { code: 'ETIMEDOUT' })));
	asked.on('error', (error) => answer(response, 503, { error: error.code || String(error), began, waited: now() - started }));
}

const server = http.createServer((request, response) => {
	if (request.url in TARGETS)
		ask(TARGETS[request.url], response);
	else
		answer(response, 200, { began: 0, waited: 0 });
});
server.keepAliveTimeout = 60000;
server.listen({ port: 7200, host: '127.0.0.1', backlog: 512 });
