"""What the official Python client, version 2, sees of `tunesmith mcp`. Usage: mcp_client.py stdio PROGRAM ARGS... | http URL TOKEN"""
import asyncio
import json
import os
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


async def talk(session):
    said = {}
    await session.initialize()
    tools = (await session.list_tools()).tools
    said["tools"] = [tool.name for tool in tools]
    said["schemas"] = {tool.name: tool.input_schema for tool in tools}
    ticks = []

    async def tick(progress, total, message):
        ticks.append([progress, total, message])

    found = await session.call_tool("data_inspect", {"file": "data/train.jsonl"})
    said["rows"] = [found.is_error, found.structured_content["rows"], json.loads(found.content[0].text)["rows"]]
    wrong = await session.call_tool("data_inspect", {"fil": 1})
    said["wrong"] = [wrong.is_error, wrong.structured_content["kind"], [f["pointer"] for f in wrong.structured_content["fields"]]]
    keys = await session.call_tool("shell", {"command": "env; ls ../sealed; cat ../sealed/rows.jsonl"})
    said["keys"] = keys.structured_content["stdout"]
    said["sealed"] = keys.structured_content["stderr"]
    try:
        await session.call_tool("no_such_tool", {})
        said["unknown"] = "called"
    except Exception as error:
        said["unknown"] = str(error)
    prepared = await session.call_tool(
        "data_prepare", {"file": "data/train.jsonl", "kind": "classification", "input": "text", "target": "intent"}
    )
    said["prepared"] = [prepared.is_error, prepared.content[0].text[:200]]
    trained = await session.call_tool("train", {"epochs": 1}, progress_callback=tick)
    said["trained"] = [trained.is_error, trained.content[0].text[:200]]
    said["ticks"] = len(ticks)
    said["growing"] = all(a[0] < b[0] for a, b in zip(ticks, ticks[1:]))
    # Cancelled: the call after it begins at once, so the command that sleeps is dead.
    slow = asyncio.create_task(session.call_tool("shell", {"command": "touch asleep; exec sleep 300", "timeout": 300}))
    await asyncio.sleep(1.5)
    slow.cancel()
    after = await asyncio.wait_for(session.call_tool("shell", {"command": "ls asleep"}), 30)
    said["after"] = after.structured_content["stdout"]
    print(json.dumps(said))


async def main():
    if sys.argv[1] == "stdio":
        env = {name: os.environ[name] for name in ("HOME", "PATH", "OPENAI_API_KEY", "HF_TOKEN") if name in os.environ}
        server = StdioServerParameters(command=sys.argv[2], args=sys.argv[3:], env=env)
        async with stdio_client(server) as (read, write):
            async with ClientSession(read, write) as session:
                await talk(session)
    else:
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        client = httpx2.AsyncClient(headers={"Authorization": "Bearer " + sys.argv[3]}, timeout=60)
        async with streamable_http_client(sys.argv[2], http_client=client) as streams:
            async with ClientSession(streams[0], streams[1]) as session:
                await talk(session)


asyncio.run(main())
