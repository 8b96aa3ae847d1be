"""All policies that one project can see, of three files, each made into a layer of rules once.

Names are looked up in the file, then the user's, then the machine's; a policy of the user or the machine sees its own
file and those beneath it only, so no project can change what they stand on. Used by `resolve.policies` alone.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from sandboxfile.agents.builtin import BUILTIN_TEMPLATES
from sandboxfile.diagnostics import Diagnostic, Span, warning
from sandboxfile.model.policy import Layer, Rule
from sandboxfile.model.spec import EXTENDS_LIMIT, Path, PolicyFile, PolicySpec, RuleSpec, SandboxFile
from sandboxfile.model.template import Recipe
from sandboxfile.policy.patterns import Pattern, parse_pattern
from sandboxfile.resolve.chains import MANAGERS, Chain, template_of
from sandboxfile.resolve.inputs import ResolveInputs, written_place
from sandboxfile.resolve.presets import preset_problems, preset_rules


@dataclass(frozen=True, slots=True)
class Shelf:
    """The policies of one file. `whose` begins the names of its layers."""

    file: SandboxFile | PolicyFile
    whose: str


class PolicyBook:
    """All policies that one project can see, each resolved once. `problems` grow while it is read."""

    def __init__(self, file: SandboxFile, inputs: ResolveInputs) -> None:
        known = ((file, ""), (inputs.policies.user, "user "), (inputs.policies.machine, "machine "))
        self.file = file
        self.inputs = inputs
        self.shelves = [Shelf(each, whose) for each, whose in known if each is not None]
        self.problems: list[Diagnostic] = []
        self._rules: dict[tuple[int, Path], Layer] = {}
        self._contents: dict[tuple[int, Path], Layer] = {}

    def enforced(self) -> Iterator[Layer]:
        """What every sandbox is held to: the machine's policies, the user's, the file's, each by name."""
        for index, shelf in reversed(list(enumerate(self.shelves))):
            for name, policy in sorted(shelf.file.policies.items()):
                if policy.enforce:
                    yield replace(self.layer(index, ("policies", name), policy), enforced=True)

    def own(self, sandbox: str) -> Layer:
        """What the sandbox itself asks for, else the defaults, else the user's choice, else nothing."""
        own, beneath, user = self.file.sandboxes[sandbox], self.file.defaults, self.inputs.policies.user
        path: Path = ("sandboxes", sandbox, "policy")
        if "policy" not in own.model_fields_set:
            own, path = beneath, ("defaults", "policy")
        layer = None
        if isinstance(own.policy, PolicySpec):
            layer = self.layer(0, path, own.policy)
            if path[0] == "sandboxes" and isinstance(beneath.policy, PolicySpec):
                layer = _merged(
                    own.policy, layer, beneath.policy, self.content(0, ("defaults", "policy"), beneath.policy)
                )
            layer = replace(layer, name=f"policy of sandbox {sandbox}")
        elif "policy" in own.model_fields_set:
            layer = self.named(own.policy, 0)
        elif user is not None and "default_policy" in user.model_fields_set:
            layer = self.named(user.default_policy, 1)
        return layer or Layer("no policy", place=self._place(0, self.file.span("sandboxes", sandbox)))

    def of_build(self, chain: Chain, recipe: Recipe) -> Layer:
        """What the build of a template asks for: the nearest policy of its chain, else what its managers need."""
        for name, template in reversed(chain.levels):
            if "policy" not in template.model_fields_set:
                continue
            if isinstance(template.policy, PolicySpec):
                return self.layer(0, ("templates", name, "policy"), template.policy)
            return self.named(template.policy, 0) or Layer("no policy")
        name = chain.levels[-1][0]
        rules: list[Rule] = []
        for manager in MANAGERS:
            steps = [step for step in recipe.steps if step.kind == manager]
            if steps:
                facts = self.inputs.presets.get(manager)
                hint = f"install {manager} on this host, or configure its registry: that is used for the build"
                self.problems += preset_problems(manager, facts, self._uses(chain, manager), hint)
                rules += preset_rules(manager, facts, Rule("", place=steps[0].place))
        place = self._place(0, self._written("templates", name))
        return Layer(f"packages of template {name}" if rules else "no policy", allow=tuple(rules), place=place)

    def _uses(self, chain: Chain, manager: str) -> Span | None:
        """Where a chain first asks for packages of this manager, or for something that needs them."""
        for name, template in chain.levels:
            if name not in BUILTIN_TEMPLATES and getattr(template.packages, manager):
                return self._written("templates", name, "packages", manager)
        name = chain.levels[-1][0]
        return self._written("templates", name) if name not in BUILTIN_TEMPLATES else self._chosen(name)

    def _chosen(self, template: str) -> Span | None:
        """Where the first sandbox that has a built-in template says so, or names the agent that brings it."""
        for name, sandbox in sorted(self.file.sandboxes.items()):
            if template_of(sandbox, self.file.defaults) == template:
                field = "template" if "template" in sandbox.model_fields_set else "agent"
                return self.file.span("sandboxes", name, field)
        return None

    def _written(self, *path: str) -> Span | None:
        return None if path[1] in BUILTIN_TEMPLATES else self.file.span(*path)

    def named(self, name: str, first: int) -> Layer | None:
        """The policy of this name in the files from `first` on; None when `validate` has said that there is none."""
        index = self._shelf(name, first)
        return None if index is None else self.layer(index, ("policies", name), self.shelves[index].file.policies[name])

    def layer(self, index: int, path: Path, policy: PolicySpec) -> Layer:
        """A written policy with all that it extends."""
        shelf = self.shelves[index]
        name = {
            "policies": f"policy {path[1]}",
            "sandboxes": f"policy of sandbox {path[1]}",
            "templates": f"policy of template {path[1]}",
        }
        return replace(
            self.content(index, path, policy),
            name=shelf.whose + name.get(str(path[0]), "policy of the defaults"),
            place=self._place(index, shelf.file.span(*path)),
        )

    def content(self, index: int, path: Path, policy: PolicySpec, depth: int = 0) -> Layer:
        """The same without name and place. Of towers and circles, which `validate` refuses, only a part."""
        if (index, path) not in self._contents:
            self._contents[index, path] = Layer("")  # what a circle comes back to
            bases = [] if depth > EXTENDS_LIMIT else [self._base(name, index, depth) for name in policy.extends]
            found = [base for base in bases if base is not None]
            self._contents[index, path] = _composed(policy.model_fields_set, found, self.rules(index, path, policy))
        return self._contents[index, path]

    def rules(self, index: int, path: Path, policy: PolicySpec) -> Layer:
        """What is written in a policy itself."""
        if (index, path) not in self._rules:
            self._rules[index, path] = Layer(
                "",
                policy.mode,
                self._list(index, (*path, "allow"), policy.allow),
                self._list(index, (*path, "block"), policy.block),
                self._list(index, (*path, "bypass"), policy.bypass),
                policy.inspect,
            )
        return self._rules[index, path]

    def _base(self, name: str, first: int, depth: int) -> Layer | None:
        index = self._shelf(name, first)
        if index is None:
            return None
        deeper = depth + 1 if index == first else 0  # each file has its own limit
        return self.content(index, ("policies", name), self.shelves[index].file.policies[name], deeper)

    def _shelf(self, name: str, first: int) -> int | None:
        return next((i for i in range(first, len(self.shelves)) if name in self.shelves[i].file.policies), None)

    # --- rules ---

    def _list(self, index: int, path: Path, specs: tuple[RuleSpec, ...]) -> tuple[Rule, ...]:
        found = (self._rule(index, (*path, number), spec) for number, spec in enumerate(specs))
        return tuple(dict.fromkeys(chain.from_iterable(found)))

    def _rule(self, index: int, path: Path, spec: RuleSpec) -> Iterable[Rule]:
        span = self.shelves[index].file.span(*path)
        place = self._place(index, span)
        if spec.until and spec.until < self.inputs.today:
            detail = f"`{spec.pattern or spec.preset}` counted until {spec.until}, and no longer does."
            self.problems.append(warning("Rule expired", detail, span, "remove the rule, or give it a later date"))
        methods, paths = tuple(sorted(set(spec.methods))), tuple(dict.fromkeys(spec.paths))
        rule = Rule("", spec.protocol, methods, paths, spec.until, spec.reason, spec.owner, place=place)
        if spec.preset and path[-2] != "allow":  # `validate` has said that it cannot stand there
            return ()
        if spec.preset:
            facts = self.inputs.presets.get(spec.preset)
            self.problems += preset_problems(spec.preset, facts, span)
            return preset_rules(spec.preset, facts, rule)
        pattern = parse_pattern(spec.pattern)
        return (replace(rule, pattern=pattern.text),) if isinstance(pattern, Pattern) else ()

    def _place(self, index: int, span: Span | None) -> str:
        """`team/policy.yaml:12:9` for files of the project; those of user and machine are named wholly."""
        if span is None or index == 0:
            return written_place(span, self.inputs)
        return f"{span.file}:{span.line}:{span.column}"


def _composed(given: Collection[str], bases: list[Layer], own: Layer) -> Layer:
    """The rules of the bases, then its own. Mode and inspection are its own if given, else those of the last base."""
    if not bases:
        return own
    layers = (*bases, own)
    return replace(
        own,
        mode=own.mode if "mode" in given else bases[-1].mode,
        inspect=own.inspect if "inspect" in given else bases[-1].inspect,
        allow=_joined(layer.allow for layer in layers),
        block=_joined(layer.block for layer in layers),
        bypass=_joined(layer.bypass for layer in layers),
    )


def _merged(own: PolicySpec, layer: Layer, beneath: PolicySpec, base: Layer) -> Layer:
    """An inline policy over that of the defaults, as maps merge: what either says goes before what it extends."""
    extended = {"mode", "inspect"} - beneath.model_fields_set if own.extends else set()
    return _composed(own.model_fields_set | extended, [base], layer)


def _joined(parts: Iterable[tuple[Rule, ...]]) -> tuple[Rule, ...]:
    """One after the other without repeats. The same tuple where there is but one: hundreds of policies may share it."""
    filled = [part for part in parts if part]
    return filled[0] if len(filled) == 1 else tuple(dict.fromkeys(chain.from_iterable(filled)))
