// An L2 entry in words: what it means in one or two of them, what each of its bits says, and what
// a write there would cost.

package import QcowFormat
import Storage

/// Words for entries that break a rule of the format.
package enum EntryFault {
  /// What is wrong with an entry, as half a sentence.
  package static func text(of fault: L2Fault) -> String { EntryDecoder.text(of: fault) }
}

extension EntryDecoder {
  /// Who answers where nothing is allocated in a range of the disk; `reader` is who reads.
  func unallocatedText(_ reader: String, _ guest: Range<UInt64>) -> String {
    guard unallocated != .none else { return "no backing file, so \(reader) reads zeroes" }
    guard guest.lowerBound < belowEnd else {
      return "behind the end of the backing file, so \(reader) reads zeroes"
    }
    let name =
      unallocated == .missing ? "the backing file answers, which is missing" : "the backing file answers"
    guard guest.upperBound > belowEnd else { return name }
    return "\(name) up to 0x\(Notation.hex(belowEnd)), behind its end \(reader) reads zeroes"
  }

  /// "data", "partly data", "zero" and so on, and what speaks against it.
  func meaning(of entry: L2Entry, _ target: Target = .unknown) -> String {
    let mapping = geometry.mapping(of: entry, version: version)
    if case .invalid(let fault) = mapping { return "invalid: " + Self.text(of: fault) }
    var counts = StateCounts<GuestState>()
    tally(entry, isShared: false, into: &counts)
    let use = use(entry, mapping)
    if counts[.bad] > 0 { return "\(use), bad: \(Conflict.pastEnd.text)" }
    if let conflict = target.conflict { return "\(use), bad: \(conflict.text)" }
    guard hasHost(mapping) else { return use }
    return use + sharing(entry, target)
  }

  private func hasHost(_ mapping: ClusterMapping) -> Bool {
    switch mapping {
    case .data, .zeroMapped, .subclusters(.some, _): true
    default: false
    }
  }

  /// What COPIED and the refcount say together.
  private func sharing(_ entry: L2Entry, _ target: Target) -> String {
    if hasExternalData { return "" }
    switch (entry.isCopied, target.refcount) {
    case (true, .some(let count)) where count > 1: return ", COPIED is set, but the refcount is \(count)"
    case (true, _): return ""
    case (false, .some(1)), (false, .some(0)): return ", COPIED not set"
    case (false, _): return ", shared"
    }
  }

  private func use(_ entry: L2Entry, _ mapping: ClusterMapping) -> String {
    switch mapping {
    case .unallocated: return entry == .empty ? "not allocated" : "not allocated, stray bits"
    case .data: return "data"
    case .zero: return "zero"
    case .zeroMapped: return "zero, kept"
    case .compressed: return "compressed"
    case .invalid(let fault): return "invalid: " + Self.text(of: fault)
    case .subclusters(let host, let bitmap):
      let data = bitmap.allocated != 0
      if data && bitmap.zero != 0 { return "data and zero" }
      if data { return "partly data" }
      if bitmap.zero != 0 { return host == nil ? "partly zero" : "partly zero, kept" }
      return "mapped, not written"
    }
  }

  static func text(of fault: L2Fault) -> String {
    switch fault {
    case .unalignedOffset: "the offset is not on a cluster boundary"
    case .zeroFlagInVersion2: "the zero flag does not exist in version 2"
    case .allocatedAndZero: "a subcluster is allocated and zero at once"
    case .allocatedWithoutHost: "subclusters are allocated without a host cluster"
    }
  }

  /// What a write has to do about the L2 table.
  enum TableCopy {
    case inPlace, missing, shared
    /// Nobody shares it, but its L1 entry is not COPIED.
    case unsharedButNotCopied
  }

  /// The lines of the bit by bit pane, for the entry of the cluster at guest offset `guest`.
  func lines(
    of entry: L2Entry, subcluster: Int, at guest: UInt64, _ target: Target, table: TableCopy
  ) -> [EntryDetail.Line] {
    var lines = [
      EntryDetail.Line(
        label: "descriptor", value: Notation.hex(entry.descriptor, width: 16), text: descriptorText(entry))
    ]
    if geometry.hasExtendedL2 && !entry.isCompressed {
      lines.append(
        EntryDetail.Line(
          label: "alloc bits", value: Notation.hex(UInt64(entry.bitmap.allocated), width: 8),
          text: allocatedText(entry)))
      lines.append(
        EntryDetail.Line(
          label: "zero bits", value: Notation.hex(UInt64(entry.bitmap.zero), width: 8), text: zeroText(entry))
      )
      let neither = ~(entry.bitmap.zero | entry.bitmap.allocated)
      lines.append(
        EntryDetail.Line(
          label: "unset bits", value: Notation.hex(UInt64(neither), width: 8),
          text: "\(unsetText(guest)): \(subclusters(neither))"))
    }
    if let conflict = target.conflict {
      lines.append(EntryDetail.Line(label: "conflict", value: "", text: conflict.text))
    } else if hasHost(geometry.mapping(of: entry, version: version)), !hasExternalData,
      let count = target.refcount, entry.isCopied == (count > 1)
    {
      let text =
        entry.isCopied
        ? "refcount \(count), COPIED is set: a write changes the bytes of the others too"
        : "refcount \(count), COPIED not set: the next write copies although nobody shares it"
      lines.append(EntryDetail.Line(label: "COPIED", value: "", text: text))
    }
    lines.append(
      EntryDetail.Line(
        label: "cost", value: "",
        text: cost(of: entry, subcluster: subcluster, at: guest, target, table: table)))
    return lines
  }

  private func descriptorText(_ entry: L2Entry) -> String {
    let copied = "bit 63 COPIED = \(entry.isCopied ? "1" : "0")"
    guard !entry.isCompressed else {
      let extent = geometry.compressedExtent(of: entry.descriptor)
      return
        "\(copied)   bit 62 compressed = 1   stream at host 0x\(Notation.hex(extent.offset.value)), up to \(extent.byteCount) bytes"
    }
    var text = "\(copied)   bit 62 compressed = 0"
    text +=
      entry.offsetBits == 0
      ? "   bits 55-9 no host cluster" : "   bits 55-9 host 0x\(Notation.hex(entry.offsetBits))"
    if !geometry.hasExtendedL2 { text += "   bit 0 zero = \(entry.descriptor & L2Entry.zeroFlag)" }
    let reserved = entry.descriptor & (L2Entry.reservedMask | (geometry.hasExtendedL2 ? 1 : 0))
    if reserved != 0 { text += "   reserved bits set: \(Notation.hex(reserved))" }
    return text
  }

  /// "0-3, 8" for bits 0 to 3 and 8.
  static func ranges(_ bits: UInt32) -> String {
    var parts: [String] = []
    var bit = 0
    while bit < 32 {
      guard bits & 1 << UInt32(bit) != 0 else {
        bit += 1
        continue
      }
      let first = bit
      while bit < 32, bits & 1 << UInt32(bit) != 0 { bit += 1 }
      parts.append(first == bit - 1 ? "\(first)" : "\(first)-\(bit - 1)")
    }
    return parts.joined(separator: ", ")
  }

  /// Who answers where neither bit is set, in few words.
  private func unsetText(_ guest: UInt64) -> String {
    if unallocated == .none { return "no backing file, reads zeroes" }
    if guest >= belowEnd { return "behind the end of the backing file, reads zeroes" }
    return unallocated == .missing ? "the missing backing file answers" : "the backing file answers"
  }

  private func subclusters(_ bits: UInt32) -> String {
    if bits == 0 { return "subclusters: none" }
    return worded(bits.nonzeroBitCount, "subcluster ", "subclusters ") + Self.ranges(bits)
  }

  private func allocatedText(_ entry: L2Entry) -> String {
    let bits = entry.bitmap.allocated
    guard bits != 0 else { return subclusters(0) }
    guard entry.offsetBits != 0 else {
      return "\(subclusters(bits)) allocated without a host cluster: invalid"
    }
    var text = subclusters(bits) + " at host "
    let first = UInt64(bits.trailingZeroBitCount)
    let last = UInt64(31 - bits.leadingZeroBitCount)
    let start = entry.offsetBits + first * geometry.subclusterSize
    let end = entry.offsetBits + (last + 1) * geometry.subclusterSize - 1
    text += "0x\(Notation.hex(start)) .. 0x\(Notation.hex(end))"
    return text
  }

  private func zeroText(_ entry: L2Entry) -> String {
    let zero = entry.bitmap.zero
    guard zero != 0 else { return subclusters(0) }
    return subclusters(zero) + worded(zero.nonzeroBitCount, " reads as zeroes", " read as zeroes")
  }

  /// What a write of one subcluster (the cluster, without subclusters) needs.
  private func cost(
    of entry: L2Entry, subcluster: Int, at guest: UInt64, _ target: Target, table: TableCopy
  ) -> String {
    let size = Notation.compact(geometry.subclusterSize)
    let what = geometry.hasExtendedL2 ? "a \(size) write to subcluster \(subcluster)" : "a \(size) write here"
    var text = what + " " + need(entry, subcluster, guest, target)
    switch table {
    case .inPlace: break
    case .missing: text += ", and a new L2 table of one cluster"
    case .shared: text += ", and a copy of the L2 table, which is shared"
    case .unsharedButNotCopied:
      text += ", and a copy of the L2 table, which nobody shares but whose L1 entry is not COPIED"
    }
    return text
  }

  private func need(_ entry: L2Entry, _ subcluster: Int, _ guest: UInt64, _ target: Target) -> String {
    var clean = target
    clean.conflict = nil
    let state = state(of: entry, subcluster, at: guest, clean)
    let mapping = geometry.mapping(of: entry, version: version)
    let isBelow = unallocated(at: guest) != .none
    let fill = isBelow ? "from the backing file" : "with zeroes"
    let hasHost = hasHost(mapping)
    if case .invalid = mapping { return "is refused: the entry is invalid" }
    if case .table = target.conflict, entry.isCopied {
      return "is refused, because it would overwrite a table, and the image is marked as corrupt"
    }
    if let conflict = target.conflict ?? (state == .bad ? .pastEnd : nil), entry.isCopied {
      switch conflict {
      case .pastEnd: return "goes to its place, and the file grows up to there"
      case .refcount(0, owners: 1): return "goes to its place, which the next new cluster may take"
      default: return "goes to its place and changes what the others read there"
      }
    }
    if state == .compressed {
      return geometry.hasExtendedL2
        ? "needs a new cluster, and the other bytes of the stream are unpacked into it"
        : "needs a new cluster; a smaller one unpacks the other bytes of the stream into it"
    }
    if hasHost && !entry.isCopied && !hasExternalData {
      let reason = (target.refcount ?? 2) > 1 ? "this one is shared" : "COPIED is not set"
      return geometry.hasExtendedL2
        ? "needs a new cluster and a copy of the other bytes, because \(reason)"
        : "needs a new cluster, because \(reason); a smaller one copies the other bytes into it"
    }
    switch state {
    case .data, .shared: return "goes to its place, nothing else changes"
    case .zeroKept where geometry.hasExtendedL2:
      return
        "needs no copy and no new cluster: it sets alloc bit \(subcluster) and clears zero bit \(subcluster)"
    case .zeroKept:
      return "needs no new cluster: it clears the zero flag; a smaller one fills the rest with zeroes"
    default: break
    }
    if hasHost { return "needs no copy and no new cluster: it sets alloc bit \(subcluster)" }
    if geometry.hasExtendedL2 {
      let zero = state == .zero ? " and clears zero bit \(subcluster)" : ""
      return "needs a new cluster, no copy: it sets alloc bit \(subcluster)\(zero)"
    }
    return "needs a new cluster; a smaller one fills the rest \(state == .zero ? "with zeroes" : fill)"
  }
}
