"""Where the next page starts, as the mesh has it for every service."""

from mesh.paging import offset_of, offset_token, position_of, position_token

__all__ = ["offset_of", "offset_token", "position_of", "position_token"]
