"""llama.cpp in this process.

Before any of its libraries loads: threads that wait for others sleep. libgomp, which reads the
variable when it is loaded, lets them turn in circles otherwise, and takes the cores from whatever
works beside (https://gcc.gnu.org/onlinedocs/libgomp/OMP_005fWAIT_005fPOLICY.html).
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
