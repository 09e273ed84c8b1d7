// An L2 entry in words: what it means in one or two of them, what each of its bits says, and what
// a write there would cost.

import QcowFormat

extension EntryDecoder {
  /// Who answers where nothing is allocated; `reader` is who reads.
  func unallocatedText(_ reader: String) -> String {
    switch unallocated {
    case .below: "the backing file answers"
    case .missing: "the backing file answers, which is missing"
    default: "no backing file, so \(reader) reads zeroes"
    }
  }

  /// "data", "partly data", "zero" and so on.
  func meaning(of entry: L2Entry) -> String {
    let mapping = geometry.mapping(of: entry, version: version)
    var counts = StateCounts<GuestState>()
    tally(entry, into: &counts)
    if counts[.bad] > 0 {
      guard case .invalid(let fault) = mapping else { return "past the end of the file" }
      return "invalid: " + Self.text(of: fault)
    }
    let shared = entry.isCopied ? "" : ", shared"
    switch mapping {
    case .unallocated: return entry == .empty ? "not allocated" : "not allocated, stray bits"
    case .data: return "data" + shared
    case .zero: return "zero"
    case .zeroMapped: return "zero, kept" + shared
    case .compressed: return "compressed"
    case .invalid(let fault): return "invalid: " + Self.text(of: fault)
    case .subclusters(let host, let bitmap):
      let data = bitmap.allocated != 0
      if data && bitmap.zero != 0 { return "data and zero" + shared }
      if data { return "partly data" + shared }
      if bitmap.zero != 0 {
        return (host == nil ? "partly zero" : "partly zero, kept") + (host == nil ? "" : shared)
      }
      return "mapped, not written" + shared
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

  /// The lines of the bit by bit pane.
  func lines(of entry: L2Entry, subcluster: Int, isTableCopied: Bool, hasTable: Bool) -> [EntryDetail.Line] {
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
          text: "\(unsetText): \(subclusters(neither))"))
    }
    lines.append(
      EntryDetail.Line(
        label: "cost", value: "",
        text: cost(of: entry, subcluster: subcluster, isTableCopied: isTableCopied, hasTable: hasTable)))
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
  private var unsetText: String {
    switch unallocated {
    case .below: "the backing file answers"
    case .missing: "the missing backing file answers"
    default: "no backing file, reads zeroes"
    }
  }

  private func subclusters(_ bits: UInt32) -> String {
    if bits == 0 { return "subclusters: none" }
    return (bits.nonzeroBitCount == 1 ? "subcluster " : "subclusters ") + Self.ranges(bits)
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
    return subclusters(zero) + (zero.nonzeroBitCount == 1 ? " reads as zeroes" : " read as zeroes")
  }

  /// What a write of one subcluster (the cluster, without subclusters) needs.
  private func cost(of entry: L2Entry, subcluster: Int, isTableCopied: Bool, hasTable: Bool) -> String {
    let size = Notation.compact(geometry.subclusterSize)
    let what = geometry.hasExtendedL2 ? "a \(size) write to subcluster \(subcluster)" : "a \(size) write here"
    var text = what + " " + need(entry, subcluster)
    if !hasTable { text += ", and a new L2 table of one cluster" }
    if !isTableCopied { text += ", and a copy of the L2 table, which is shared" }
    return text
  }

  private func need(_ entry: L2Entry, _ subcluster: Int) -> String {
    let state = state(of: entry, subcluster)
    let mapping = geometry.mapping(of: entry, version: version)
    let fill = unallocated == .none ? "with zeroes" : "from the backing file"
    var hasHost = false
    switch mapping {
    case .data, .zeroMapped, .subclusters(.some, _): hasHost = true
    default: break
    }
    if state == .bad { return "is refused: the entry is invalid" }
    if state == .compressed {
      return "needs a new cluster, and the other bytes of the stream are unpacked into it"
    }
    if hasHost && !entry.isCopied {
      return "needs a new cluster and a copy of the other bytes, because this one is shared"
    }
    switch state {
    case .data: return "goes to its place, nothing else changes"
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
