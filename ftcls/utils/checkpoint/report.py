"""What became of every tensor when weights were loaded."""
from collections.abc import Iterable
from dataclasses import dataclass, field

from ftcls.utils.names import command, enumerate_names, plural
from ftcls.utils.tree import grouped

__all__ = ['LoadReport', 'fold_names']

Shape = tuple[int, ...]


def fold_names(names: Iterable[str], most: int = 6) -> str:
    """Fold parameter names to their modules: ``'layer4.* (12), fc.* (2)'``; at most ``most`` groups are named.

    Example:
        >>> fold_names(['layer4.0.conv1.weight', 'layer4.0.bn1.bias', 'fc.bias'])
        'layer4.* (2), fc.bias'
    """
    groups = grouped((_module_of(name), name) for name in names)
    texts = [f'{group}.* ({len(members)})' if len(members) > 1 else members[0] for group, members in groups.items()]
    return enumerate_names(texts, most)


def _module_of(name: str) -> str:
    """Return ``'backbone.layer4'`` of ``'backbone.layer4.0.conv1.weight'``, ``'layer4'`` of ``'layer4.0.bn1.bias'``."""
    first, *others = name.split('.')
    is_inside = first in ('backbone', 'neck', 'head', 'module', 'model') and len(others) > 1
    return '.'.join([first, *others[:is_inside]])


@dataclass
class LoadReport:
    """What was loaded into a module, from where, and what was not.

    Attributes:
        source: The path or address as it was given.
        container: Key of the checkpoint that the weights lay under (``'state_dict'``), ``''`` for the file itself.
        strip: Beginning taken off the file's names (``'module.'``).
        add: Beginning put in its place to have the module's names (``'backbone.'``).
        renamed: The file's names that are another library's, with the module's that were found for them.
        resized: Names, as in the module, of tensors that were interpolated (position embeddings), with the shape in the
            file and the shape in the module.
        loaded: Names, as in the module, of the tensors that were loaded.
        missing: Names in the module for which the file has nothing (``num_batches_tracked`` is not counted).
        unexpected: Names in the file for which the module has no place.
        mismatched: Names in the module, with the shape in the file and the shape in the module.
        left_over: Those of ``unexpected`` that stand among loaded ones, in a module that the model has: signs of a
            deeper or another network.
        half_loaded: Those of ``left_over`` whose layer was loaded without them, biases for one: it computes something
            else.
        part_size: How many tensors the file has for the parts that were loaded, those left over included (whole
            numbers, as of ``num_batches_tracked``, and the classifier apart).
        input_channels: How many channels the images have in the file and in the model, if these differ.
        adapt_input: How the first convolution was fitted to that; '' if it was not.
        expected: Names of either side that make up the classifier and differ as they do in any fine-tuning, with what
            became of them. They are in none of the lists above.
        casts: Changes of type, as ``{'float16 -> float32': number of tensors}``.
        required: How many tensors of the module had to be found: all but the classifier's.
        required_loaded: How many of those were.
        num_tensors: How many tensors the module has, without the ``num_batches_tracked`` that the file lacks.
        num_params: How many numbers the module has.
        num_loaded_params: How many of those were loaded.
    """
    source: str = ''
    container: str = ''
    strip: str = ''
    add: str = ''
    renamed: dict[str, str] = field(default_factory=dict)
    resized: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    left_over: list[str] = field(default_factory=list)
    half_loaded: list[str] = field(default_factory=list)
    part_size: int = 0
    input_channels: tuple[int, int] | None = None
    adapt_input: str = ''
    expected: dict[str, str] = field(default_factory=dict)
    casts: dict[str, int] = field(default_factory=dict)
    required: int = 0
    required_loaded: int = 0
    num_tensors: int = 0
    num_params: int = 0
    num_loaded_params: int = 0

    @property
    def prefix(self) -> str:
        """How names were changed, ``"'module.*' -> 'backbone.*'"``, or ``''``."""
        if not self.strip and not self.add:
            return ''
        return f"'{self.strip}*' -> '{self.add}*'"

    @property
    def fraction(self) -> float:
        """Share, 0 to 1, of the module's tensors, classifier apart, that were loaded."""
        return self.required_loaded / max(self.required, 1)

    @property
    def left_over_share(self) -> float:
        """Share, 0 to 1, of the file's tensors for the parts that were loaded that found no place in them."""
        return len(self.left_over) / max(self.part_size, 1)

    @property
    def has_adapter(self) -> bool:
        """Whether tensors of an adapter, as peft names them, found no place."""
        return any('default' in name.split('.') for name in self.left_over)

    def left_over_text(self) -> str:
        """Say what is left over, and what that means."""
        share = f'{len(self.left_over)} of {self.part_size} tensors ({self.left_over_share:.0%}) of what was loaded'
        cause = 'the file probably holds another network than model.backbone describes'
        if self.has_adapter:
            cause = f'set model.adapter as in the training of the file, or run {command("merge_adapter")}'
        names = f'{fold_names(self.left_over)} (for example {self.left_over[0]})'
        return f'{self.source}: {share} have no place in the model: {names}; {cause}'

    def half_loaded_text(self) -> str:
        """Say which layers were loaded in part, and what that means."""
        return (f'{self.source}: {len(self.half_loaded)} tensors belong to layers that the model has without them: '
                f'{fold_names(self.half_loaded)}; build the model with these parts (UNet: conv_bias=True)')

    def mismatched_text(self) -> str:
        """Say how many tensors have another shape, and show one."""
        name, (theirs, ours) = next(iter(self.mismatched.items()))
        shapes = f'{name} is {theirs} in the file and {ours} in the model'
        return f'of another shape ({len(self.mismatched)}): {fold_names(self.mismatched)}; {shapes}'

    @property
    def absent(self) -> list[str]:
        """Names in the module of all tensors that were not loaded, also the classifier's."""
        classifier = [name for name, note in self.expected.items() if note.startswith('not loaded')]
        return self.missing + list(self.mismatched) + classifier

    @property
    def complete(self) -> bool:
        """Whether every tensor of the module, the classifier's too, was loaded (``num_batches_tracked`` apart)."""
        return not self.absent

    def summary(self) -> str:
        """Return a few lines, names folded by module."""
        where = self.source or 'the weights'
        if self.container:
            where += f' [{self.container}]'
        numbers = f'{self.num_loaded_params:,} of {self.num_params:,} numbers'
        lines = [f'{where}: {len(self.loaded)} of {self.num_tensors} tensors loaded ({numbers})']
        if self.prefix:
            lines[0] += f', names {self.prefix}'
        for old, new in list(self.renamed.items())[:1]:
            lines.append(f"  {len(self.renamed)} names are another library's, paired in order: {old!r} -> {new!r} ...")
        for name, (theirs, ours) in list(self.resized.items())[:1]:
            lines.append(f'  {plural(len(self.resized), "tensor")} interpolated: {name} from {theirs} to {ours}')
        notes = grouped((note.split(':')[0], name) for name, note in self.expected.items())
        lines += [f'  as expected: {fold_names(names)} {note}' for note, names in notes.items()]
        for where, names in (('missing in the file', self.missing), ('in the file only', self.unexpected)):
            if names:
                lines.append(f'  {where} ({len(names)}): {fold_names(names)}')
        if self.mismatched:
            lines.append(f'  {self.mismatched_text()}')
        if self.adapt_input:
            theirs, ours = self.input_channels
            lines.append(f'  first layer fitted from {theirs} to {ours} channels (adapt_input={self.adapt_input!r})')
        lines += [f'  types changed: {cast} ({count} tensors)' for cast, count in self.casts.items()]
        return '\n'.join(lines)

    def details(self) -> str:
        """Return everything, one tensor per line."""
        lines = [self.summary(), *(f'  expected    {name}: {note}' for name, note in self.expected.items())]
        for kind in ('loaded', 'missing', 'unexpected'):
            lines += [f'  {kind:10}  {name}' for name in getattr(self, kind)]
        lines += [f'  renamed     {old} -> {new}' for old, new in self.renamed.items()]
        lines += [f'  resized     {n}: from {a} to {b}' for n, (a, b) in self.resized.items()]
        lines += [f'  mismatched  {n}: {a} in the file, {b} in the model' for n, (a, b) in self.mismatched.items()]
        return '\n'.join(lines)
