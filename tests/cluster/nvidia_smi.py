"""A machine whose `nvidia-smi` says what a test wants."""

from pathlib import Path

import pytest

XML = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log><driver_version>580.95.05</driver_version>
<gpu id="00000000:17:00.0"><uuid>GPU-aaaa1111-0000</uuid><mig_devices>
<mig_device><index>0</index><fb_memory_usage><total>40192 MiB</total><used>37 MiB</used></fb_memory_usage></mig_device>
<mig_device><index>1</index><fb_memory_usage><total>9856 MiB</total><used>12 MiB</used></fb_memory_usage></mig_device>
</mig_devices></gpu>
<gpu id="00000000:18:00.0"><uuid>GPU-cccc3333-0000</uuid><mig_devices>None</mig_devices></gpu>
</nvidia_smi_log>"""
SMI = """#!/bin/sh
echo "$@" >>{asked}
case "$1" in
    *{refused}*) echo 'Field "compute_cap" is not a valid field to query.'; exit 2;;
    -q) cat {xml}; exit {xml_status};;
    *) cat {lines}; exit {status};;
esac
"""


def driver(
    folder: Path, monkeypatch: pytest.MonkeyPatch, lines: str, status: int = 0, refused: str = "nothing",
    xml: str = XML, xml_status: int = 0,
) -> Path:  # fmt: skip
    """A machine whose `nvidia-smi` says that; returns the file of what it was asked."""
    (folder / "lines").write_text(lines + "\n")
    (folder / "xml").write_text(xml)
    asked = folder / "asked"
    asked.touch()
    tool = folder / "nvidia-smi"
    paths = {"asked": asked, "xml": folder / "xml", "lines": folder / "lines"}
    tool.write_text(SMI.format(status=status, xml_status=xml_status, refused=refused, **paths))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return asked
