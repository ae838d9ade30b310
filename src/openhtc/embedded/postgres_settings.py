"""The settings of the embedded PostgreSQL: many short transactions, small hot tables, answers that last."""

import os
from collections.abc import Mapping

from openhtc.embedded.ports import LOOPBACK

MIB = 1024 * 1024


def settings_text(port: int, tuning: Mapping[str, str]) -> str:
    """The content of openhtc.conf, which postgresql.conf includes; ``tuning`` wins over ours."""
    memory_mib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MIB
    settings = {**_settings(port, memory_mib), **tuning}
    lines = ["# Written at every start of openhtc; your own settings go to the end of postgresql.conf."]
    lines += [f"{name} = '{value}'" for name, value in settings.items()]
    return "\n".join(lines) + "\n"


def _settings(port: int, memory_mib: int) -> dict[str, str]:
    return {
        "listen_addresses": LOOPBACK,
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "100",
        "shared_buffers": f"{max(32, min(512, memory_mib // 8))}MB",
        "effective_cache_size": f"{max(64, memory_mib // 2)}MB",
        "work_mem": "16MB",
        "maintenance_work_mem": "128MB",
        "random_page_cost": "1.1",
        "jit": "off",
        # What was answered is on disk.
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "wal_compression": "on",
        "max_wal_size": "2GB",
        # What a backup that was interrupted may leave behind at most.
        "max_slot_wal_keep_size": "4GB",
        # Job rows change a few times within seconds: clean up early, in small portions and without long naps.
        "autovacuum_naptime": "3s",
        "autovacuum_vacuum_scale_factor": "0.05",
        "autovacuum_analyze_scale_factor": "0.05",
        "autovacuum_vacuum_cost_limit": "2000",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_checkpoints": "off",
        "log_line_prefix": "%m [%p] ",
    }
