"""All statements of the execution service and its workers, a module for each thing they are about. Database errors pass through."""
