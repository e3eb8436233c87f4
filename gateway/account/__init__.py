"""The pages that links in mails and providers of sign-ins lead to."""
