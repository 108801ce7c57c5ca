"""Drives a server by the official Python SDK, pointed at it by the environment alone, and says of each claim how it went.

usage: drive.py plain|strict     one line of JSON for each claim: {"claim", "error"}
"""

import asyncio
import json
import os
import sys
import traceback
from datetime import datetime, timedelta, timezone
from uuid import uuid4

import oz_agent_sdk
from oz_agent_sdk import AsyncOzAPI, OzAPI

STRICT = sys.argv[1] == "strict"
CLAIMS = []


def claim(words):
    def note(work):
        CLAIMS.append((words, work))
        return work

    return note


def raises(kind, work):
    try:
        work()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def same(found, wanted):
    assert found == wanted, f"{found!r} is not {wanted!r}"


def unique(words):
    return f"{words} {uuid4()}"


@claim("starts, reads, lists, goes on with and cancels a run")
def runs(oz):
    name = unique("python")
    started = oz.agent.run(
        prompt="By the book",
        title="Book",
        config={"name": name, "harness": {"type": "claude"}, "idle_timeout_minutes": 0},
    )
    same(started.task_id, started.run_id)
    same(started.state, "QUEUED")
    assert isinstance(started.at_capacity, bool)
    run = oz.agent.runs.retrieve(started.run_id)
    same((run.title, run.prompt, run.state), ("Book", "By the book", "QUEUED"))
    same(run.agent_config.name, name)
    same(run.agent_config.harness.type, "claude")
    same(run.source, "API")
    assert run.created_at.tzinfo is not None
    page = oz.agent.runs.list(name=name, state=["QUEUED", "PENDING"], limit=5)
    same([item.run_id for item in page.runs], [started.run_id])
    same(page.page_info.has_next_page, False)
    oz.agent.runs.submit_followup(started.run_id, message="And the tests", mode="normal")
    # What comes as bare text is the same value in each SDK.
    same(oz.agent.runs.cancel(started.run_id), started.run_id)


@claim("serves agents that Oz has no word for in words that it has")
def other_agents(oz):
    started = oz.agent.run(prompt="x", extra_body={"config": {"harness": {"type": "command", "command": ["true"]}}})
    harness = oz.agent.runs.retrieve(started.run_id).agent_config.harness
    same(harness.type, "oz")
    same(harness.model_extra["agent"], "command")


@claim("pages through all runs, each once, while others are started")
def paging(oz):
    name = unique("pages")
    started = [oz.agent.run(prompt=f"page {index}", config={"name": name}).run_id for index in range(5)]
    seen = []
    for run in oz.agent.runs.list(name=name, limit=2, sort_by="created_at", sort_order="asc"):
        if not seen:
            started.append(oz.agent.run(prompt="later", config={"name": name}).run_id)
        seen.append(run.run_id)
    same(seen, started)


@claim("filters by metadata and by times, whatever has to be encoded")
def filters(oz):
    ticket = f"A 1+2=3 & 100% é {uuid4()}"
    run_id = oz.agent.run(prompt="x", metadata={"ticket.id": ticket, "other": "1"}).run_id
    found = oz.agent.runs.list(metadata={"ticket.id": ticket, "other": "1"})
    same([run.run_id for run in found.runs], [run_id])
    same(found.runs[0].metadata, {"ticket.id": ticket, "other": "1"})
    same(oz.agent.runs.list(metadata={"ticket.id": ticket, "other": "2"}).runs, [])
    hour = timedelta(hours=1)
    now = datetime.now(timezone(hour))
    between = oz.agent.runs.list(metadata={"ticket.id": ticket}, created_after=now - hour, created_before=now + hour)
    same(len(between.runs), 1)
    same(oz.agent.runs.list(metadata={"ticket.id": ticket}, created_after=now + hour).runs, [])


@claim("raises the class of each error")
def errors(oz):
    missing = raises(oz_agent_sdk.NotFoundError, lambda: oz.agent.runs.retrieve(str(uuid4())))
    same(missing.body["status"], 404)
    same(missing.body["retryable"], False)
    raises(oz_agent_sdk.NotFoundError, lambda: oz.agent.runs.retrieve("a/b c"))
    raises(oz_agent_sdk.BadRequestError, lambda: oz.agent.run(prompt=""))
    raises(oz_agent_sdk.BadRequestError, lambda: oz.agent.runs.list(limit=501))
    raises(oz_agent_sdk.BadRequestError, lambda: oz.agent.runs.list(cursor="nonsense"))
    stranger = OzAPI(api_key="wk-wrong", max_retries=0)
    raises(oz_agent_sdk.AuthenticationError, lambda: stranger.agent.runs.list())
    unsupported = {"config": {"memory_stores": [{"uid": "x", "access": "read_only", "instructions": "x"}]}}
    raises(oz_agent_sdk.UnprocessableEntityError, lambda: oz.agent.run(prompt="x", extra_body=unsupported))
    environment = {"name": unique("taken")}
    oz.post("/agent/environments", body=environment, cast_to=object)
    # Would take three tries and seconds, were it not told that another one does no better.
    taken = raises(
        oz_agent_sdk.ConflictError, lambda: oz.post("/agent/environments", body=environment, cast_to=object)
    )
    same(taken.response.request.headers["x-stainless-retry-count"], "0")


@claim("sends a POST again whose answer was lost, and one run is started")
def cut(oz):
    name = unique("cut")
    started = OzAPI(base_url=os.environ["CUTTING_BASE_URL"]).agent.run(prompt="cut", config={"name": name})
    same([run.run_id for run in oz.agent.runs.list(name=name).runs], [started.run_id])


@claim("names the team by a header of the environment")
def team(oz):
    same(oz.default_headers["X-Warp-Team-Uid"], "default")


@claim("lists skills and environments")
def lists(oz):
    repo = os.environ["SKILLED_REPO"]
    [skill] = oz.agent.list(sort_by="name", repo=repo, include_malformed_skills=True).agents
    [variant] = skill.variants
    same((skill.name, variant.id, variant.error), ("greet", f"{repo}:.agents/skills/greet/SKILL.md", None))
    run = oz.agent.runs.retrieve(oz.agent.run(skill=f"{repo}:greet").run_id)
    same((run.title, run.agent_skill.name, run.agent_skill.full_path), ("greet", "greet", variant.id))
    same([found.run_id for found in oz.agent.runs.list(skill=variant.id).runs][:1], [run.run_id])
    name = unique("environment")
    created = oz.post(
        "/agent/environments",
        body={"name": name, "repos": [{"url": "https://github.com/you/project.git"}], "setup_commands": ["true"]},
        cast_to=object,
    )
    [found] = [
        item for item in oz.agent.list_environments(sort_by="name").environments if item.uid == created["uid"]
    ]
    same((found.config.name, found.config.setup_commands), (name, ["true"]))
    same([(repo.owner, repo.repo) for repo in found.config.github_repos], [("you", "project")])
    run_id = oz.agent.run(prompt="x", config={"environment_id": created["uid"]}).run_id
    same(oz.agent.runs.list(environment_id=created["uid"]).runs[0].run_id, run_id)


@claim("makes, changes, pauses and deletes a schedule")
def schedules(oz):
    made = oz.agent.schedules.create(
        name=unique("nightly"), cron_schedule="0 9 * * 1", prompt="Look", metadata={"ticket": "T-1"}
    )
    same((made.enabled, made.prompt, made.metadata), (True, "Look", {"ticket": "T-1"}))
    same(oz.agent.schedules.retrieve(made.id).cron_schedule, "0 9 * * 1")
    assert made.id in [item.id for item in oz.agent.schedules.list().schedules]
    same(oz.agent.schedules.pause(made.id).enabled, False)
    same(oz.agent.schedules.resume(made.id).enabled, True)
    name = unique("renamed")
    changed = oz.agent.schedules.update(
        made.id, name=name, cron_schedule="30 8 * * *", enabled=False, prompt="Look again"
    )
    same((changed.name, changed.cron_schedule, changed.enabled), (name, "30 8 * * *", False))
    assert not changed.metadata, "a field that is left out of a PUT is cleared"
    same(oz.agent.schedules.delete(made.id).success, True)
    raises(oz_agent_sdk.NotFoundError, lambda: oz.agent.schedules.retrieve(made.id))


@claim("makes, changes and deletes an agent identity")
def identities(oz):
    made = oz.agent.agent.create(name=unique("reviewer"), prompt="Be strict.", description="Reviews")
    same((made.prompt, made.description, made.default_runner_uid), ("Be strict.", "Reviews", ""))
    changed = oz.agent.agent.update(made.uid, description="")
    same(changed.prompt, "Be strict.")
    assert not changed.description
    same(oz.agent.agent.get(made.uid).name, made.name)
    assert made.uid in [item.uid for item in oz.agent.agent.list().agents]
    run_id = oz.agent.run(prompt="x", agent_identity_uid=made.uid).run_id
    same(oz.agent.runs.retrieve(run_id).executor.uid, made.uid)
    same(oz.agent.agent.delete(made.uid), None)
    raises(oz_agent_sdk.NotFoundError, lambda: oz.agent.agent.get(made.uid))


@claim("looks redirects up without a key")
def redirects(oz):
    same(oz.agent.sessions.check_redirect(str(uuid4())).conversation_id, None)
    same(oz.agent.conversations.check_redirect(str(uuid4())).session_id, None)


@claim("gives a run files, and reads artifacts and handoff attachments")
def artifacts(oz):
    started = oz.agent.run(
        prompt="x", attachments=[{"file_name": "a.txt", "mime_type": "text/plain", "data": "aGVsbG8="}]
    )
    same(oz.agent.runs.list_handoff_attachments(started.run_id).attachments, [])
    raises(oz_agent_sdk.NotFoundError, lambda: oz.agent.get_artifact(str(uuid4())))
    for uid in json.loads(os.environ.get("ARTIFACTS", "[]")):
        same(oz.agent.get_artifact(uid).artifact_uid, uid)


@claim("does the same without blocking")
def asynchronous(_oz):
    async def work():
        async with AsyncOzAPI(_strict_response_validation=STRICT) as oz:
            name = unique("async")
            started = await asyncio.gather(*[oz.agent.run(prompt="x", config={"name": name}) for _ in range(3)])
            seen = [run.run_id async for run in oz.agent.runs.list(name=name, limit=2)]
            same(sorted(seen), sorted(run.run_id for run in started))
            same(await oz.agent.runs.cancel(seen[0]), seen[0])

    asyncio.run(work())


@claim("reads every run that there is")
def everything(oz):
    seen = [run.run_id for run in oz.agent.runs.list(limit=100)]
    assert len(seen) == len(set(seen)) > 0


def main():
    oz = OzAPI(_strict_response_validation=STRICT)
    for words, work in CLAIMS:
        error = None
        try:
            work(oz)
        except Exception:
            error = traceback.format_exc()
        print(json.dumps({"claim": words, "error": error}), flush=True)


main()
