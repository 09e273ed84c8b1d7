// What a client may ask about the state of ranges ("Metadata querying"): with or without bytes, in which layer, and
// what the entry of the image says of each subcluster.

import Qcow
import QcowFormat

/// A kind of answer to a question for the state of a range.
enum StatusContext: UInt32, CaseIterable {
  /// Whether there are bytes, and whether they are zeroes.
  case allocation = 0
  /// Which layer answers: 0 none, 1 the image itself, 2 the one below it, and so on.
  case depth = 1
  /// What the entry says; see ``code(of:)``.
  case mapping = 2

  var name: String {
    switch self {
    case .allocation: "base:allocation"
    case .depth: "qemu:allocation-depth"
    case .mapping: "qatlas:mapping"
    }
  }

  /// Whether a query means it when a client asks which there are: its name, or what stands in front of the colon.
  func isListed(by query: [UInt8]) -> Bool {
    let name = Array(name.utf8)
    guard let colon = name.firstIndex(of: UInt8(ascii: ":")) else { return false }
    return query == name || query == Array(name[...colon])
  }

  /// Whether a query means it when a client chooses.
  func isChosen(by query: [UInt8]) -> Bool { query == Array(name.utf8) }

  /// Extents of one answer.
  static let most = 1 << 16

  /// A stretch in one state.
  struct Run: Equatable {
    var length: UInt32
    var flags: UInt32
  }

  /// The runs of a range, which is not empty; those of one state are one run. Only the first with `onlyFirst`, and at
  /// most ``most``.
  func runs(
    _ disk: SharedDisk.Held, from start: UInt64, to end: UInt64, onlyFirst: Bool
  ) throws(ImageError) -> [Run] {
    var runs: [Run] = []
    let limit = onlyFirst ? 1 : Self.most
    // A stop inside of a walk: what follows is asked for by the client again.
    var isFull = false
    func add(_ length: UInt64, _ flags: UInt32) {
      guard !isFull, length > 0 else { return }
      if let last = runs.last, last.flags == flags {
        runs[runs.count - 1].length = UInt32(clamping: UInt64(last.length) + length)
      } else if runs.count == limit {
        isFull = true
      } else {
        runs.append(Run(length: UInt32(clamping: length), flags: flags))
      }
    }
    let layers = disk.layerCount
    // Parts of bounded length, so that an early end is found soon.
    var at = start
    while at < end, !isFull {
      let stop = min(end, at + (64 << 20))
      switch self {
      case .allocation:
        try disk.extents(from: at, to: stop) { (extent, _) throws(ImageError) in
          add(extent.length, (extent.isData ? 0 : 1) | (extent.isZero ? 2 : 0))
        }
      case .depth:
        try disk.extents(from: at, to: stop) { (extent, _) throws(ImageError) in
          // Behind the end of a shorter layer its zeroes count as its answer, as with the genuine server.
          let below = extent.isZero && extent.depth + 1 < layers ? extent.depth + 2 : 0
          add(extent.length, UInt32(clamping: extent.isPresent ? extent.depth + 1 : below))
        }
      case .mapping:
        var place = at
        while place < stop, !isFull {
          let mapping = try disk.mapping(at: place, limit: stop - place)
          let length = max(1, mapping?.length.value ?? stop - place)
          add(length, mapping.map { Self.code(of: $0.state) } ?? Self.code(of: .data))
          place += length
        }
      }
      at = stop
    }
    return runs
  }

  /// What stands for a state in ``mapping``: bit 0 says that the image answers, bit 1 that it reads as zeroes, bit 2
  /// that a host cluster is kept for it, bit 3 that it is compressed, bit 4 that the entry is not valid.
  static func code(of state: SubclusterState) -> UInt32 {
    switch state {
    case .unallocated: 0
    case .unallocatedMapped: 4
    case .zero: 1 | 2
    case .zeroMapped: 1 | 2 | 4
    case .data: 1 | 4
    case .compressed: 1 | 8
    case .invalid: 16
    }
  }
}
