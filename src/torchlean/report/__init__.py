"""Pictures, as one self-contained HTML page: no network, no scripts from elsewhere."""

from torchlean.report.page import Page

__all__ = ["Page"]
