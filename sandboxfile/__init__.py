"""sandboxfile: a checked-in `sandbox.yaml` describes sandboxes for AI agents; `sbx plan` and `sbx up` make it so.

One way through the house (read `pipeline.py` first):

    text -parse-> Document -validate-> SandboxFile -resolve-> DesiredState -+
                                                      ObservedState --------+-plan-> Plan -execute-> Outcome

Imports go down only:

    cli > pipeline > apply|observe|supervisor > control|images|vm|guest > host
        > language|resolve|planning > model > errors > diagnostics|names

The layers below `host` are pure: no clock, no files, no processes. The rule is held by import-linter in the test run.
"""

__version__ = "0.1.0"
