// The names and letters of the states of both maps. Legends, searches, explanations, listings and JSON all
// take them from here.

/// How a state is called, and its letter.
package struct LegendEntry: Equatable, Sendable {
  /// The name in lists and JSON.
  package var name: String
  /// The same in at most eight letters, for narrow legends.
  package var short: String { shortName ?? name }
  fileprivate var shortName: String?
  /// Shown where there is room.
  package var explanation: String
  /// The letter of the state on a map of ASCII letters.
  package var letter: Unicode.Scalar
}

/// The legends of both maps.
package enum Legend {
  /// What a state of the disk is called.
  package static func guest(_ state: GuestState) -> LegendEntry {
    func row(_ name: String, _ explanation: String, _ letter: Unicode.Scalar) -> LegendEntry {
      LegendEntry(name: name, explanation: explanation, letter: letter)
    }
    switch state {
    case .none: return row("none", "not allocated", ".")
    case .below: return row("below", "a layer below answers", ":")
    case .data: return row("data", "data", "#")
    case .zero: return row("zero", "zero, no cluster", "z")
    case .zeroKept: return row("kept", "zero, cluster kept", "Z")
    case .preallocated: return row("preallocated", "reserved, never written", "p")
    case .compressed: return row("compressed", "compressed", "c")
    case .shared: return row("shared", "shared", "s")
    case .missing: return row("missing", "layer missing", "?")
    case .bad: return row("bad", "impossible, or in conflict", "!")
    }
  }

  /// What a state of the file is called.
  package static func host(_ state: HostState) -> LegendEntry {
    func row(_ name: String, _ letter: Unicode.Scalar, short: String? = nil) -> LegendEntry {
      LegendEntry(name: name, shortName: short, explanation: name, letter: letter)
    }
    switch state {
    case .header: return row("header", "H")
    case .refcountTable: return row("refc. table", "T", short: "rc table")
    case .refcountBlock: return row("refc. block", "B", short: "rc block")
    case .l1Table: return row("L1 table", "1", short: "L1")
    case .l2Table: return row("L2 table", "2", short: "L2")
    case .snapshotTable: return row("snapshots", "S", short: "snaps")
    case .snapshotTables: return row("snap. L1/L2", "l", short: "snap. L")
    case .bitmap: return row("bitmaps", "M")
    case .crypto: return row("crypto", "K")
    case .vmState: return row("VM state", "V")
    case .data: return row("data", "#")
    case .compressed: return row("compressed", "c", short: "compr.")
    case .free: return row("free", ".")
    case .hole: return row("hole", "o")
    case .leaked: return row("leaked", "X")
    case .wrong: return row("bad", "!")
    case .pastEnd: return row("past the end", " ")
    }
  }
}
