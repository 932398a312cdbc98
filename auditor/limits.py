"""Every cap on what a hostile file can make us do, with its reason; checked before allocating."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Caps on input; sizes in bytes unless the name says otherwise."""

    # sources
    files_at_once: int = 8
    """Files of a source that is far away read side by side; each may have several requests under way."""
    files: int = 100_000
    """Entries listed in one target: the Hub advises under 100,000 files a repository."""
    path_depth: int = 64
    """Folders inside one another; deeper trees are made to exhaust a walker."""

    hub_json: int = 8 * 1024 * 1024
    """One JSON answer of the Hub: a page of 1,000 files takes some 400 KB."""
    hub_pages: int = 1_000
    """Pages of one listing: 100,000 files take 100 of the Hub's."""
    hub_name: int = 1_024
    """Bytes of a file's path; git hosts and file systems take some 4,096 at most, real ones have under 200."""
    hub_hops: int = 5
    """Redirects on the way to a file: the Hub needs one, renamed repositories two."""
    hub_url: int = 16 * 1024
    """Characters of a URL that a server sends us to: signed ones have some 1,500."""
    hub_whole: int = 256 * 1024
    """Files up to this are fetched whole when first read, and held against their digest: configs, cards, indexes."""
    hub_head: int = 64 * 1024
    """Fetched of a larger file when first read: what it is and, of usual shards, the whole header (5 to 40 KB)."""
    hub_direct: int = 16 * 1024 * 1024
    """A file outside LFS that is taken whole from a server without ranges; the Hub wants LFS above 10 MB."""
    hub_kept: int = 64 * 1024 * 1024
    """Bytes of heads and small files kept in memory: those of 500 shards and more."""
    hub_batch: int = 5
    """Files in LFS from which on their places are asked for together: under that, a redirect for each is as few."""
    hub_gap: int = 64 * 1024
    """Bytes fetched for nothing rather than asking twice: what 40 ms, shared by 16 requests in flight, cost."""
    hub_piece: int = 16 * 1024 * 1024
    """Longest range asked for at once, so that little is lost with a connection, and long reads run in parallel."""
    hub_parallel: int = 16
    """Requests in flight: what the Hub's own client uses at most."""
    hub_renewals: int = 2
    """Times that one range asks for a new signed URL; the Hub's live for an hour."""
    hub_tries: int = 5
    """Tries of one request that fails for a reason that may pass: the Hub's own client makes six."""
    hub_backoff_seconds: float = 0.5
    """Before the second try, and doubled before each later one."""
    hub_wait_seconds: float = 60.0
    """Longest wait that a server may ask for; the Hub's windows are five minutes long, and CI would rather fail."""
    hub_patience_seconds: float = 600.0
    """Lost on failed tries and waits in one audit, summed over all connections, before the server is given up."""
    hub_timeout_seconds: float = 10.0
    """Silence of a server before a try counts as failed, as in the Hub's own client."""
    hub_slowest: int = 16 * 1024
    """Bytes a second below which a body counts as stalled: slower than any modem of this century."""

    unknown_binary: int = 8 * 1024 * 1024
    """A binary file of unknown content above this may hold weights; tokenizer models and the like are smaller."""

    # models
    models: int = 64
    """Models in one set of weights; a multimodal model has two or three. Each is compared with every reference."""
    layers: int = 512
    """Layers of a model; the deepest public stacks have under 200, and layers are compared all with all."""
    blocks: int = 65_536
    """MLP blocks of a model, experts counted one by one; the largest public mixture has some 23,000."""
    candidates: int = 1_000
    """Comparisons listed in a report; a swept registry can hold more references than a person reads."""
    row_elements: int = 1 << 20
    """Elements in a matrix row that is read; the widest public models have rows of 64 K."""

    tokenizer_bytes: int = 64 * 1024 * 1024
    """A tokenizer file; the largest public ones, of 256 K tokens with merges, are some 34 MB."""
    tokenizer_fields: int = 4_000_000
    """Fields of one message of a SentencePiece file; public ones have 256 K pieces at most. Each takes 150 bytes."""

    # JSON of any kind
    json_depth: int = 64
    """Nesting of arrays and objects; real headers, indexes and configs stay under 10."""
    json_values: int = 10_000_000
    """Values in one text: a million tensors of two dimensions need 8 million; each takes up to 70 bytes."""
    json_number: int = 640
    """Characters of one number: up to here no CPython setting refuses, and a double needs 25."""

    # safetensors
    safetensors_header: int = 100_000_000
    """The format's own cap, as the reference implementation enforces it."""
    tensors: int = 1_000_000
    """Tensors in one file; the largest public mixture-of-experts shards hold some thousands."""
    dims: int = 32
    """Dimensions of one tensor: what every numpy can hold."""

    # shard index
    index_bytes: int = 64 * 1024 * 1024
    """`*.index.json`; the largest public ones are under 20 MB."""

    # GGUF
    gguf_tensors: int = 65_536
    """Tensors in one file; real files hold up to some thousands, and llama.cpp's time grows with the square."""
    gguf_kv: int = 65_536
    """Key-value pairs in a header; real files hold under 100."""
    gguf_key: int = 65_535
    """Bytes of a key: the specification's own cap."""
    gguf_name: int = 63
    """Bytes of a tensor name: llama.cpp's GGML_MAX_NAME less the terminator."""
    gguf_dims: int = 4
    """Dimensions of a tensor: llama.cpp's GGML_MAX_DIMS."""
    gguf_string: int = 16 * 1024 * 1024
    """Bytes of one string value, kept or not."""
    gguf_array_depth: int = 4
    """Arrays inside arrays; llama.cpp writes depth 1."""
    gguf_alignment: int = 65_536
    """Alignment of tensor data: the largest memory page in use. More would only be room to hide bytes in."""
    gguf_items: int = 1_024
    """Elements of an array that is kept: values per layer are, vocabularies are stepped over."""
    gguf_text: int = 256 * 1024
    """Bytes of a string that is kept; chat templates reach some 100 KB."""
    gguf_kept: int = 8 * 1024 * 1024
    """Bytes of keys and values kept of one header; real ones hold some 100 KB besides their vocabularies."""
    gguf_steps: int = 4_000_000
    """Strings and inner arrays walked one by one; the largest vocabularies with merges hold 1 million."""
    gguf_header: int = 512 * 1024 * 1024
    """Header bytes walked (vocabularies are skipped over, not kept); the largest real ones are some 30 MB."""

    # torch checkpoints
    zip_directory: int = 16 * 1024 * 1024
    """Central directory of an archive: 80 bytes a member, 32,768 members and their padding."""
    zip_members: int = 65_536
    """Members of an archive: one for each tensor, and some ten more."""
    zip_proofs: int = 16
    """Members of an archive that is far away whose own headers are read at once; those of more, when they are read."""
    pickle_bytes: int = 32 * 1024 * 1024
    """A pickle that describes tensors: some 130 bytes each, names included."""
    pickle_steps: int = 1_000_000
    """Opcodes of one pickle, at some 2 us: a tensor takes 33."""
    pickle_line: int = 1_024
    """Bytes of a line in a pickle: names of modules and numbers, written as text by old protocols."""
    pickle_long: int = 256
    """Bytes of one integer: torch's own longest, its magic number, has 10."""
    pickle_text: int = 64 * 1024
    """Bytes of a text that is kept; names of tensors have some 60. Longer ones are stepped over."""
    pickle_unread: int = 1024 * 1024
    """Bytes in long texts and byte strings that may be stepped over before the file counts as not wholly read."""
    pickle_tensors: int = 65_536
    """Tensors in one file, as in GGUF; each takes a storage of its own, or a part of one."""
    pickle_depth: int = 64
    """Nesting of dicts, lists and modules around a tensor; optimizer states use 5, modules of modules some 10."""
    pickle_streams: int = 64
    """Pickles behind one another in a file; torch's old format has five."""
    pickle_nodes: int = 250_000
    """Values walked to find tensors; more than opcodes only where one value is meant many times over."""
    pickle_problems: int = 32
    """Problems listed for one pickle; the rest only repeat."""

    # quantised matrices
    packed_matrices: int = 1 << 17
    """Quantised matrices of a checkpoint; the largest public ones have 70,000, and each takes some 50 us to check."""
    packed_read: int = 512 * 1024 * 1024
    """Bytes of one tensor fetched for some rows of a matrix; the largest whole one, of 405B at 4 bits, has 436 MB."""
    packed_ranges: int = 65_536
    """Ranges of one tensor asked for where a row is a column of what is stored; where it takes more, all is read."""
    packed_stated: int = 4_096
    """Bytes of one tensor that only describes a matrix (shape, kind, block size); real ones have under 200."""

    adapter_elements: int = 1 << 24
    """Elements of one half of an adapter's change: rank 256 of rows of 64 K."""

    # references
    sketch_bytes: int = 512 * 1024 * 1024
    """A sketch file; the deepest kind of a 7B model has under 200 MB, a standard one of 70B some 90 MB."""
    known_files: int = 100_000
    """Rows of the table of known files; it ships with some hundred."""

    # cards, configs and what they claim
    legal_files: int = 500
    """Licence texts, notices, cards and configs read in one repository; real ones have under 20."""
    legal_bytes: int = 4 * 1024 * 1024
    """One such file; the longest real licence collections are under 1 MB."""
    card_bytes: int = 4 * 1024 * 1024
    """A README; the largest public model cards are under 1 MB."""
    front_matter: int = 512 * 1024
    """Characters of YAML at the head of a card; those with long evaluation tables reach some 200 KB."""
    yaml_depth: int = 24
    """Nesting of YAML; evaluation tables use 7. PyYAML's own composer fails near 1,000."""
    yaml_nodes: int = 100_000
    """Scalars, lists and maps of one YAML text; the longest evaluation tables hold some 30,000."""
    yaml_documents: int = 32
    """Documents in one YAML text: mergekit writes one for each step of a chain of merges."""
    config_bytes: int = 4 * 1024 * 1024
    """`config.json` and its like: under 3 KB without label tables, some 1 MB with the longest of them."""
    metadata_problems: int = 64
    """Problems listed for one metadata file; the rest only repeat."""
    metadata_values: int = 4_096
    """Values kept of one list in a metadata file (datasets, tags, merge parents)."""
    value_chars: int = 4_096
    """Characters kept of one short metadata value; a name or a link has some 100."""
    repo_id_chars: int = 512
    """Characters of anything that may still be a repository id or a URL of one."""
    prose_chars: int = 512 * 1024
    """Characters of a README body that are read for claims; the longest hold some 100 KB of prose."""
    sentence_chars: int = 1_500
    """Characters of one sentence that are matched; longer ones are not prose."""
    license_chars: int = 512
    """Characters of a declared licence name or expression."""

    # what the user states and waives
    settings_bytes: int = 256 * 1024
    """`auditor.toml`; a statement takes some 500 bytes, so hundreds of them fit."""
    settings_dots: int = 256
    """Dots in one of its lines: tomllib's time and memory grow with the square of the parts of a dotted key."""

    report_bytes: int = 256 * 1024 * 1024
    """A JSON report: one of 100,000 files and findings is 80 MB."""

    # lists of models
    list_bytes: int = 4 * 1024 * 1024
    """A list of targets: some 50,000 lines."""
    list_depth: int = 1_000
    """Brackets side by side in a YAML list; PyYAML composes by recursion."""

    # attestations
    attestation_bytes: int = 64 * 1024 * 1024
    """A signed audit; one of the most files that a target may have takes some 40 MB, most of it their names."""
    key_bytes: int = 64 * 1024
    """A key file; real ones are under 4 KB."""

    # MLflow's registry
    mlflow_json: int = 8 * 1024 * 1024
    """One JSON answer: a folder of 10,000 files takes some 1 MB."""
    mlflow_model_name: int = 256
    """Characters of a registered model's name: what the registry's own database takes."""
    mlflow_asks: int = 2_000
    """Requests to learn what is there: folders, and sizes that a list leaves out; real models have under 20 folders."""
    mlflow_text: int = 500
    """Characters of one tag that is written; names of references have under 100."""

    # registries and buckets
    oci_manifest: int = 4 * 1024 * 1024
    """A manifest, an index, or a config of an artifact: registries take no manifest above 4 MB."""
    oci_name: int = 255
    """Characters of a registry and repository together, as the distribution specification advises."""
    oci_token_answer: int = 64 * 1024
    """The answer of a server that gives tokens; real ones have under 5 KB."""
    oci_token: int = 16 * 1024
    """Characters of one token; real ones have under 3,000, and most servers take headers of 8 KB or 16 KB."""
    oci_tars: int = 1_000
    """Archives that are searched in one artifact; each takes a request at least."""
    docker_config: int = 1024 * 1024
    """Docker's own file of credentials: 100 bytes a registry."""
    tar_entries: int = 20_000
    """Entries of one archive; each large file takes a request."""
    tar_window: int = 16 * 1024
    """Fetched at a header in an archive: small files and their headers lie side by side."""
    tar_text: int = 64 * 1024
    """A pax header or long name: paths have under 4,096 bytes."""
    tar_padding: int = 64 * 1024
    """Bytes after the end of an archive: tar fills up blocks of 10 KB."""
    bucket_seconds: float = 120.0
    """One request to an object store: a piece of 16 MB at 140 KB a second."""
    bucket_retry_seconds: float = 60.0
    """Spent on tries of one request to an object store before it counts as failed."""
    bucket_list_seconds: float = 300.0
    """For 1,000 names of a bucket: one request, with all its tries; a store may also send empty pages without end."""
    bucket_pages: int = 10_000
    """Thousands of objects that are listed in search of models; where a whole page is of one model, the rest is not."""

    # licence, notice and policy texts
    license_text: int = 1_000_000
    """Characters of one text that are compared; the longest licences are under 50,000, READMEs under 500,000."""

    # sweeps
    sweep_heartbeat_seconds: float = 5.0
    """Between two signs of life that a sweep leaves in its store."""
    sweep_stale_seconds: float = 60.0
    """Silence after which a sweep on another machine counts as dead: twelve signs of life that did not come."""
    sweep_target_seconds: float = 3600.0
    """One try at one target; a scan of the largest public models takes minutes."""
    sweep_backoff_seconds: float = 2.0
    """Before a target is tried again, and doubled before each later try."""
    sweep_backoff_longest: float = 300.0
    """Longest such pause: the Hub's windows are five minutes long."""
    sweep_interruptions: int = 5
    """Sweeps that may end while they audit one target, before it is taken for what ends them."""
    sweep_host_failures: int = 5
    """Targets in a row that a host does not serve, before it counts as down."""
    sweep_deaths: int = 10
    """Targets in a row that end their workers, before it is the workers that are at fault."""
    sweep_pause_seconds: float = 10.0
    """Before a host that is down is asked again, and doubled before each later time."""
    sweep_names: int = 1_000_000
    """Names of one list held in memory, so that none is taken twice: some 100 MB."""
    sweep_page: int = 500
    """Targets on one page of an index: some 500 KB of HTML."""
    sweep_joint: int = 1_000
    """Reports held in memory for one SARIF file; GitHub takes 25,000 results in one."""


LIMITS = Limits()
