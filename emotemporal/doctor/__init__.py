"""What is wrong with an installation, found out without relying on any part of it.

`checks` and `children` import nothing but the standard library; what may fail to load is loaded by `probes`
in processes of their own, whose death is a finding like any other.

`portrait.jpg` is a part of a frame of `examples/demo.mp4`: Eileen Collins, by NASA, in the public domain.
"""
