"""What may be typed: keys and what they accept, composed and checked; imports nothing of svae."""

from pathlib import Path

_PACKAGE = Path(__file__).parent.parent
# in a checkout the folder lies beside the package, in an installed package inside it
CONF = next(path for path in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if path.is_dir())
