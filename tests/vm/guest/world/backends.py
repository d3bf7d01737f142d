"""HTTP/1.1 with connections that stay, on each backend's address: answers "alive"."""
import asyncio

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nalive\n"


async def serve(reader, writer):
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(ANSWER)
            await writer.drain()
    except (asyncio.IncompleteReadError, OSError):
        writer.close()


async def main():
    server = await asyncio.start_server(serve, [f"10.9.0.{last}" for last in range(3, 8)], 7000, backlog=512)
    await server.serve_forever()


asyncio.run(main())
