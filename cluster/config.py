"""The `cluster:` section of the project file."""

from pydantic import Field

from cluster.schema import Section


class ClusterConfig(Section):
    """Where Ray runs."""

    address: str = "local"
    """`local` starts a Ray of our own here and stops it at the end; `auto` or `ray://...` joins a cluster. The URL of a
    cluster's dashboard, such as http://head:8265, is where `--submit` and `tandem jobs` go; jobs ignore the address and
    run on the cluster that they were submitted to."""

    num_cpus: int = Field(default=8, ge=4)
    """Logical CPUs that a local Ray offers. They are slots for actors, not cores: serving one model takes 5."""

    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """Port on which a local Ray exports Prometheus metrics; a free one where it is not set."""
