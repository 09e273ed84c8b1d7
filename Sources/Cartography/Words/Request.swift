// What is asked of a disk or of its image, by a key, a line, a lesson or a workload of the lab, with the line
// that asks for it.

/// A change or a look at guest bytes, with everything checked but the image.
package struct Request: Hashable, Sendable {
  /// What is asked for.
  package enum Kind: Hashable, Sendable {
    case write(pattern: UInt8)
    case zero(mayUnmap: Bool)
    case discard
    case read(expected: UInt8?, verbose: Bool)
    /// The pin of the image, set after a look at all clusters, or removed.
    case pin, unpin
    /// The whole image; offset and length are 0.
    case defrag(contiguous: Bool, dropsLeaks: Bool)
  }

  /// What is asked for.
  package var kind: Kind
  /// Where on the disk, in bytes.
  package var offset: UInt64
  package var length: UInt64

  package init(_ kind: Kind, at offset: UInt64, length: UInt64) {
    self.kind = kind
    self.offset = offset
    self.length = length
  }

  /// A request about the image as a whole.
  package init(ofImage kind: Kind) { self.init(kind, at: 0, length: 0) }

  /// The request is about the image, not about a range of its disk.
  package var isOfImage: Bool {
    switch kind {
    case .pin, .unpin, .defrag: true
    case .write, .zero, .discard, .read: false
    }
  }

  /// The line that asks for it.
  package var commandLine: String {
    let range = "0x\(String(offset, radix: 16)) \(Request.short(length))"
    switch kind {
    case .write(let pattern): return "write -P 0x\(String(pattern, radix: 16)) \(range)"
    case .zero(let mayUnmap): return "write -z \(mayUnmap ? "-u " : "")\(range)"
    case .discard: return "discard \(range)"
    case .read: return "read \(range)"
    case .pin: return "pin"
    case .unpin: return "unpin"
    case .defrag(let contiguous, let dropsLeaks):
      return "defrag" + (contiguous ? " --contiguous" : "") + (dropsLeaks ? " --drop-leaks" : "")
    }
  }

  /// A length that reads back exactly: `64k`, `1M`, `133120` stays `130k`.
  package static func short(_ length: UInt64) -> String {
    for (shift, letter) in [(UInt64(40), "T"), (30, "G"), (20, "M"), (10, "k")]
    where length > 0 && length & ((1 << shift) - 1) == 0 {
      return "\(length >> shift)\(letter)"
    }
    return "\(length)"
  }
}
