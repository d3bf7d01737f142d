# SPDX-License-Identifier: GPL-2.0-or-later
"""Is the host reachable? An ssh banner each second, and useful logins one after the other."""
import asyncio

from . import records

BANNER_TIMEOUT_S = 10
LOGIN_TIMEOUT_S = 60
USEFUL = "sudo -n systemctl status php8.2-fpm >/dev/null 2>&1; echo status=$?"
USEFUL_WITH_GUARD = USEFUL + "; pileguardctl status >/dev/null 2>&1; echo guard=$?"


async def banner(port, out):
    """One connection, up to sshd's first line."""
    planned = records.now()
    ok, writer = False, None
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), BANNER_TIMEOUT_S)
        left = planned + BANNER_TIMEOUT_S - records.now()
        ok = (await asyncio.wait_for(reader.readline(), left)).startswith(b"SSH-2.0")
    except (OSError, asyncio.TimeoutError):
        ok = False
    finally:
        if writer:
            writer.transport.abort()
    out.write(what="banner", planned=planned, done=records.now(), ok=ok)


async def banners(port, out):
    """A banner each second, whatever became of the earlier ones."""
    following = records.now()
    tasks = set()
    while True:
        task = asyncio.ensure_future(banner(port, out))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        following += 1
        await asyncio.sleep(max(0, following - records.now()))


def is_useful(text, with_guard):
    """Whether the login did its work: systemctl answered (0 runs, 3 does not), and the guard did."""
    answers = dict(line.split("=", 1) for line in text.split() if "=" in line)
    return answers.get("status") in ("0", "3") and (not with_guard or answers.get("guard") == "0")


async def login(command, with_guard, out):
    """One whole useful login by the ssh command given."""
    planned = records.now()
    words = [*command, USEFUL_WITH_GUARD if with_guard else USEFUL]
    process = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.DEVNULL,
                                                   stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    try:
        text = (await asyncio.wait_for(process.communicate(), LOGIN_TIMEOUT_S))[0].decode(errors="replace")
    except BaseException as error:
        process.kill()
        await process.wait()
        text = "timeout"
        if not isinstance(error, asyncio.TimeoutError):
            out.write(what="login", planned=planned, done=records.now(), ok=False, cut=True, text="ended by us")
            raise
    out.write(what="login", planned=planned, done=records.now(), ok=is_useful(text, with_guard),
              text=text.strip()[-200:])


async def logins(command, with_guard, out, count=None):
    """Useful logins, each started when the one before has ended."""
    done = 0
    while count is None or done < count:
        started = records.now()
        await login(command, with_guard, out)
        done += 1
        await asyncio.sleep(max(0.1, 0.5 - (records.now() - started)))


async def idle(port, command, with_guard, count, out):
    """Banners each second until count logins have been made."""
    task = asyncio.ensure_future(banners(port, out))
    try:
        await logins(command, with_guard, out, count)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def both(port, command, with_guard, duration_s, out):
    """Banners and logins for duration_s seconds."""
    tasks = [asyncio.ensure_future(banners(port, out)), asyncio.ensure_future(logins(command, with_guard, out))]
    done, _ = await asyncio.wait(tasks, timeout=duration_s)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
