// What `qatlas convert` was asked for: the options of `qemu-img convert`, which of them go together, and its
// words for what does not.

import Cartography

/// A request to copy disks, checked as far as that goes without a file.
package struct ConvertRequest {
  /// Why the words make no sense.
  package typealias Refusal = CreateRequest.Refusal

  /// Bytes of the largest gap that can be asked for.
  private static let longestGap: UInt64 = 16 << 20

  /// The options as they were given.
  package struct Words {
    /// `-O`.
    package var targetFormat: String?
    /// `-o`, each a list.
    package var options: [String] = []
    /// `-S`.
    package var sparseSize: String?
    /// `-r`.
    package var rate: String?
    /// `-m`.
    package var parallel: String?
    /// `-l`.
    package var snapshot: String?
    /// `-n`.
    package var keepsTarget = false
    /// `-c`.
    package var compresses = false
    /// `-C`.
    package var offloads = false
    /// `--bitmaps`.
    package var bitmaps = false
    /// `--skip-broken-bitmaps`.
    package var skipsBroken = false
    /// `--salvage`.
    package var salvages = false
    /// `--target-is-zero`.
    package var targetIsZero = false
    /// `--target-image-opts`.
    package var targetIsOptions = false

    package init() {}
  }

  /// The format of the target; nil if only an option string says it.
  package let targetFormat: String?
  /// Bytes of zeroes that become a gap; 0 for none.
  package let shortestGap: UInt64
  /// Bytes in a second; nil or 0 for as fast as it goes.
  package let bytesPerSecond: UInt64?
  /// The snapshot of the source.
  package let snapshot: SnapshotChoice?
  /// The words.
  package let words: Words

  /// - Throws: ``Refusal`` with the sentence of the genuine tool for what cannot be asked for.
  package init(_ words: Words) throws(Refusal) {
    self.words = words
    shortestGap = try Self.gap(words.sparseSize) ?? 4096
    bytesPerSecond = try Self.number("rate limit", words.rate)
    if let parallel = words.parallel { try Self.checkParallel(parallel) }
    snapshot = try words.snapshot.map { (text) throws(Refusal) in try SnapshotChoice(text) }
    targetFormat = words.targetFormat ?? (words.targetIsOptions ? nil : "raw")
    if words.skipsBroken, !words.bitmaps {
      throw Refusal("Use of --skip-broken-bitmaps requires --bitmaps")
    }
    if words.offloads {
      if words.compresses { throw Refusal("Cannot enable copy offloading when -c is used") }
      if words.sparseSize != nil { throw Refusal("Cannot enable copy offloading when -S is used") }
      if words.salvages { throw Refusal("Cannot use copy offloading in salvaging mode") }
    }
    if words.targetIsOptions, !words.keepsTarget {
      throw Refusal("--target-image-opts requires use of -n flag")
    }
    if words.keepsTarget, !words.options.isEmpty {
      throw Refusal("-o has no effect when skipping image creation")
    }
    if words.targetIsZero, !words.keepsTarget {
      throw Refusal("--target-is-zero requires use of -n flag")
    }
  }

  /// Looks at an option's value as soon as it is read, as the genuine tool does.
  ///
  /// - Throws: ``Refusal`` for a value that makes no sense.
  package static func check(_ option: String, _ value: String) throws(Refusal) {
    switch option {
    case "sparse-size": _ = try gap(value)
    case "rate-limit": _ = try number("rate limit", value)
    case "parallel": try checkParallel(value)
    case "snapshot": _ = try SnapshotChoice(value)
    default: break
    }
  }

  private static func gap(_ text: String?) throws(Refusal) -> UInt64? {
    guard let value = try number("buffer size for sparse output", text) else { return nil }
    guard value % 512 == 0, value <= longestGap else {
      throw Refusal(
        "Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to \(longestGap). "
          + "Select 0 to disable sparse detection (fully allocates output).")
    }
    return value
  }

  /// A number with a suffix, as all verbs read it; nil if it is not given.
  ///
  /// - Throws: ``Refusal`` for what is no number or out of range.
  package static func number(
    _ what: String, _ text: String?, in range: ClosedRange<UInt64> = 0...Notation.maximum
  ) throws(Refusal) -> UInt64? {
    guard let text else { return nil }
    let refusal = Refusal(
      "Invalid \(what) specified. Must be between \(range.lowerBound) and \(range.upperBound).")
    let value: UInt64
    do throws(Notation.ParseError) { value = try Notation.parse(text) } catch {
      if case .tooLarge = error { throw refusal }
      throw Refusal(CreateRequest.invalidNumber(what, text))
    }
    guard range.contains(value) else { throw refusal }
    return value
  }

  /// How many requests are under way at a time makes no difference here, but the number has to be one.
  private static func checkParallel(_ text: String) throws(Refusal) {
    _ = try number("number of coroutines", text, in: 1...16)
  }
}
