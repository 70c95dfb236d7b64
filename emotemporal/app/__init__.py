"""A local web app: videos go in by drag and drop or from the camera, the report page comes out.

Starlette and uvicorn rather than Gradio: the report page is our own and works by itself. Gradio would set a
front end of its own around it, sends usage data and loads fonts from elsewhere unless told not to, and
brings more than 100 MB of dependencies.
"""
