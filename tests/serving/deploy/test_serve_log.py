"""Serve's log survives a library that sets up logging for itself."""

import logging
import logging.config
from logging.handlers import MemoryHandler
from pathlib import Path

from cluster.session import SERVE_LOGGER, serve_log_kept


def test_what_serve_writes_still_reaches_its_file(tmp_path: Path) -> None:
    handler = MemoryHandler(1, target=logging.FileHandler(tmp_path / "replica.log"))
    logger = logging.getLogger(SERVE_LOGGER)
    logger.addHandler(handler)
    try:
        with serve_log_kept():
            logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
            assert handler.target is None, "this is what it is for"
        logger.error("it is here")
        assert "it is here" in (tmp_path / "replica.log").read_text()
    finally:
        logger.removeHandler(handler)
