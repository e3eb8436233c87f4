"""The words that classify blocks."""

from enum import StrEnum


class Effect(StrEnum):
    """What running a block means for the world outside; the engine decides by it when a firing may be repeated."""

    PURE = "pure"  # deterministic and without effect: may be computed again at any time
    IDEMPOTENT = "idempotent"  # repeating does no harm, but the result may differ
    EFFECTFUL = "effectful"  # changes something outside: never repeated once its end is recorded


class BlockType(StrEnum):
    """The part a block plays in a graph. The engine treats Input, Output, Note, Webhook and Agent blocks specially."""

    STANDARD = "Standard"
    INPUT = "Input"
    OUTPUT = "Output"
    NOTE = "Note"
    WEBHOOK = "Webhook"
    WEBHOOK_MANUAL = "Webhook (manual)"
    AGENT = "Agent"
    AI = "AI"
    AYRSHARE = "Ayrshare"
    HUMAN_IN_THE_LOOP = "Human In The Loop"
    MCP_TOOL = "MCP Tool"


class Category(StrEnum):
    """Groups of the catalogue; a block may be in several."""

    AI = "AI"
    SOCIAL = "SOCIAL"
    TEXT = "TEXT"
    SEARCH = "SEARCH"
    BASIC = "BASIC"
    INPUT = "INPUT"
    OUTPUT = "OUTPUT"
    LOGIC = "LOGIC"
    COMMUNICATION = "COMMUNICATION"
    DEVELOPER_TOOLS = "DEVELOPER_TOOLS"
    DATA = "DATA"
    HARDWARE = "HARDWARE"
    AGENT = "AGENT"
    CRM = "CRM"
    SAFETY = "SAFETY"
    PRODUCTIVITY = "PRODUCTIVITY"
    ISSUE_TRACKING = "ISSUE_TRACKING"
    MULTIMEDIA = "MULTIMEDIA"
    MARKETING = "MARKETING"
