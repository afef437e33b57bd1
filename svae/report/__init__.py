"""Many runs side by side: tables, charts and one page."""
