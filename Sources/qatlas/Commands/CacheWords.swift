// The words of options about the host's cache and its ways of input and output, which several verbs take.

/// The modes of `-t` and `-T`.
enum CacheWords {
  static let known: Set<String> = ["none", "off", "directsync", "writeback", "unsafe", "writethrough"]
  /// Those with which every request waits for the disk.
  static let waits: Set<String> = ["writethrough", "directsync"]
  /// Those that go past the host's cache.
  static let direct: Set<String> = ["none", "off", "directsync"]
}

/// The words of `-i`.
enum AioWords {
  static let known: Set<String> = ["threads", "native", "io_uring"]
  /// Why one of them cannot be had with a cache.
  static let needsDirect =
    "aio=native was specified, but it requires cache.direct=on, which was not specified."
}
