"""`python -m jaxgan VERB ...`"""

import sys

from jaxgan.cli.main import main

sys.exit(main())
