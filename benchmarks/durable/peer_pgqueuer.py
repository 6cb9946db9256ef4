"""A worker of pgqueuer, by its Python API, with the same body as the others; and how it is filled.

Its bodies are async, on connections of their own.
"""

import asyncio
import os
import signal

import psycopg
from pgqueuer import PgQueuer
from pgqueuer.adapters.drivers.psycopg import PsycopgDriver
from pgqueuer.adapters.persistence.queries import Queries

# Jobs that it takes in one statement, and statements whose jobs it runs at once.
BATCH = 50
CONCURRENCY = 100
# Of its bodies: so many commits can share a write to the disk.
CONNECTIONS = 8
READY = "pgqueuer is ready"


async def _connect() -> "psycopg.AsyncConnection[tuple[object, ...]]":
    return await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"], autocommit=True)


async def work() -> None:
    queuer = PgQueuer(PsycopgDriver(await _connect()))
    connections: asyncio.Queue[psycopg.AsyncConnection[tuple[object, ...]]] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        connections.put_nowait(await _connect())

    @queuer.entrypoint("effect")  # type: ignore[untyped-decorator]
    async def effect(job: object) -> None:
        number = int(job.payload)  # type: ignore[attr-defined]
        connection = await connections.get()
        try:
            await connection.execute("INSERT INTO effects VALUES (%s)", [number])
        finally:
            connections.put_nowait(connection)

    # Else what it did last is not noted, and done again in the next round.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, queuer.shutdown.set)
    print(READY, flush=True)
    await queuer.run(batch_size=BATCH, max_concurrent_tasks=CONCURRENCY)


async def install() -> None:
    async with await _connect() as connection:
        await Queries(PsycopgDriver(connection)).install()


async def enqueue(count: int) -> None:
    async with await _connect() as connection:
        numbers = [str(number).encode() for number in range(count)]
        await Queries(PsycopgDriver(connection)).enqueue(["effect"] * count, numbers, [0] * count)


if __name__ == "__main__":
    asyncio.run(work())
