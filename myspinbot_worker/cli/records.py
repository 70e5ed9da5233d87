"""What :mod:`..inspection` found, as JSON for programs. The keys are stable."""

from __future__ import annotations

from typing import Any

from ..job_state import Concluded, JobState, NodeState, RunSummary
from .output import moment


def run_record(run: RunSummary) -> dict[str, Any]:
    return {
        "jobId": run.job,
        "entry": run.entry,
        "admittedAt": moment(run.admitted_ms),
        "startedAt": moment(run.started_ms),
        "nodes": run.nodes,
        "done": run.done,
        "running": run.running,
        "ready": run.ready,
        "progress": run.progress,
        "cancelled": run.cancelled,
        "failing": run.failing,
    }


def node_record(node: NodeState) -> dict[str, Any]:
    return {
        "id": node.id,
        "service": node.service,
        "plane": "python" if node.ours else "node",
        "state": node.state,
        "fraction": node.fraction,
        "attempts": node.attempts,
        "lostWorkers": node.lost,
        "worker": node.worker,
        "startedAt": moment(node.started_ms),
        "error": node.error,
    }


def concluded_record(visit: Concluded) -> dict[str, Any]:
    return {
        "jobId": visit.job,
        "entry": visit.entry,
        "verdict": visit.verdict,
        "reason": visit.reason,
        "admittedAt": moment(visit.admitted_ms),
        "endedAt": moment(visit.ended_ms),
        "nodes": visit.nodes,
    }


def job_record(job: JobState) -> dict[str, Any]:
    return {
        "jobId": job.job,
        "phase": job.phase,
        "entry": job.entry,
        "createdAt": moment(job.created_ms),
        "status": job.status,
        "progress": job.progress,
        "run": run_record(job.run) if job.run else None,
        "last": concluded_record(job.last) if job.last else None,
        "nodes": [node_record(node) for node in job.nodes],
    }
