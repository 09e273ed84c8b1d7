// What is said about a place: the entries on the way to it in words, who answers there, what is wrong. The
// pane "Where is it?", the lines of `qatlas where` and its JSON take every word from here.

package import Qcow
package import QcowFormat
import Storage

/// The words for one place of an image.
package struct PlaceWords {
  /// An entry in words, and where it leads.
  package struct Meaning: Equatable, Sendable {
    /// Where an entry leads.
    package enum Target: Equatable, Sendable {
      /// To a table or to bytes of the guest, in one host cluster.
      case cluster(HostOffset)
      /// To a host cluster that is kept and not read.
      case reserved(HostOffset)
      /// To a compressed stream of at most that many bytes.
      case stream(HostOffset, byteCount: UInt64)
      /// Nowhere; what that means.
      case nothing(String)
    }

    /// "COPIED", "shared" and the like; empty where it means nothing.
    package var sharing: String
    /// What kind of entry it is: "standard", "zero, kept", "empty".
    package var kind: String
    /// Where it leads.
    package var target: Target
  }

  /// Something that is to be told beside the way.
  package struct Remark: Equatable, Sendable {
    /// "conflict", "health", "problem".
    package var label: String
    /// The sentence.
    package var text: String
    /// Something is wrong, and not only worth knowing.
    package var isProblem = true
  }

  /// What is talked about.
  package let place: Place
  private let image: Image
  private var geometry: Geometry { image.geometry }

  package init(_ place: Place, of image: Image) {
    self.place = place
    self.image = image
  }

  // MARK: The way

  /// What the guest sees there; with subclusters, how many of them are like this one.
  package var state: (count: Int, of: Int, word: String)? {
    guard let state = place.state else { return nil }
    let count = place.subclusters.count
    let word = Legend.guest(state).explanation
    guard count > 1 else { return (1, 1, state == .none ? "not allocated, reads zeroes" : word) }
    return (place.subclusters.filter { $0 == state }.count, count, state == .data ? "mapped" : word)
  }

  /// Why a place of the file is no place of the disk.
  package var noGuest: String {
    guard place.hostState == .vmState else {
      return ofSnapshots ?? "no guest place uses this host cluster"
    }
    let isLeftOver = !place.owners.contains {
      if case .vmState(.some, _, _, _) = $0 { return true }
      return false
    }
    return isLeftOver
      ? "none: saved VM state, left over: no snapshot has it" : "none: this is saved VM state"
  }

  /// Where the disks of snapshots have a host cluster that the disk as it is now does not use; nil if none has it.
  private var ofSnapshots: String? {
    guard let first = place.inSnapshots.first else { return nil }
    let more = place.inSnapshots.count - 1
    let name = Owner.name(ofSnapshot: first.snapshot, image.snapshots)
    return "0x\(Notation.hex(first.guest.value)) of \(name)"
      + (more > 0 ? ", and \(more) more in snapshots" : ", not of the disk as it is now")
  }

  /// What COPIED and the refcount say together.
  private func sharing(_ isCopied: Bool, _ refcount: UInt64?) -> String {
    guard let refcount else { return isCopied ? "COPIED" : geometry.hasExternalData ? "" : "shared" }
    if refcount > 1 { return isCopied ? "COPIED, but not alone" : "shared" }
    return isCopied ? "COPIED" : "COPIED not set"
  }

  /// The L1 entry; nil for a place that is not on the disk.
  package var l1: Meaning? {
    guard let step = place.l1 else { return nil }
    guard let table = step.entry.table else {
      return Meaning(
        sharing: "", kind: "empty", target: .nothing("no L2 table yet, all of it reads as unallocated"))
    }
    return Meaning(
      sharing: sharing(step.entry.isCopied, step.targetRefcount), kind: "table", target: .cluster(table))
  }

  /// The L2 entry; nil without an L2 table.
  package var l2: Meaning? {
    guard let step = place.l2, let mapping = place.mapping else { return nil }
    let sharing = sharing(step.entry.isCopied, step.targetRefcount)
    switch mapping {
    case .data(let host): return Meaning(sharing: sharing, kind: "standard", target: .cluster(host))
    case .zeroMapped(let host): return Meaning(sharing: sharing, kind: "zero, kept", target: .reserved(host))
    case .zero:
      return Meaning(sharing: "", kind: "zero", target: .nothing("no host cluster: reads as zeroes"))
    case .unallocated: return Meaning(sharing: "", kind: "empty", target: .nothing(unallocated))
    case .compressed(let extent):
      return Meaning(
        sharing: "", kind: "compressed", target: .stream(extent.offset, byteCount: extent.byteCount))
    case .subclusters(let host?, _):
      return Meaning(sharing: sharing, kind: "standard", target: .cluster(host))
    case .subclusters(nil, _):
      return Meaning(
        sharing: "", kind: "no host cluster", target: .nothing("the bitmap says what reads as zeroes"))
    case .invalid(let fault):
      return Meaning(sharing: "", kind: "invalid", target: .nothing(EntryFault.text(of: fault)))
    }
  }

  private var unallocated: String {
    guard let answer = place.answer else {
      return image.backingFileName == nil ? "reads as zeroes" : "the backing file answers"
    }
    switch answer.kind {
    case .unallocated: return "not allocated in any layer: reads as zeroes"
    case .missing: return "not allocated: needs a missing layer"
    case .data, .zero: return "not allocated: layer \(answer.depth) answers"
    }
  }

  // MARK: The end of the way

  /// Which layer below answers, and where; nil if none is asked. The name of its file is as it is.
  package var answer: Remark? {
    guard let answer = place.answer else { return nil }
    let layer = "layer \(answer.depth) of \(place.layerCount)"
    switch answer.kind {
    case .data:
      let at = answer.offset.map { "at 0x\(Notation.hex($0.value))" } ?? "compressed"
      return Remark(label: "answer", text: "\(layer), \(at) of \(answer.name)", isProblem: false)
    case .zero: return Remark(label: "answer", text: "\(layer), zeroes of \(answer.name)", isProblem: false)
    case .unallocated:
      let end =
        answer.isBehindEnd
        ? "behind the end of \(answer.name), \(layer)" : "none of \(counted(place.layerCount, "layer"))"
      return Remark(label: "answer", text: "\(end): reads as zeroes", isProblem: false)
    case .missing: return Remark(label: "answer", text: "\(layer) is missing: \(answer.name)")
    }
  }

  /// Where the next guest cluster is, with at least that many digits. The end of this one's range says where
  /// in order would be.
  package func next(digits: Int = 1) -> String? { words(place.next, digits) }

  /// The guest clusters before and behind the place: which one, where it is, and how far from here.
  package var neighbours: [(label: String, guest: GuestOffset, host: HostOffset?, text: String)] {
    guard let guest = place.guest else { return [] }
    let own = GuestOffset(geometry.roundDown(guest.value))
    let here = place.hostRange?.lowerBound
    func neighbour(_ label: String, _ guest: GuestOffset, _ next: Place.Next)
      -> (String, GuestOffset, HostOffset?, String)?
    {
      guard let word = words(next, 1) else { return nil }
      switch next {
      case .inOrder(let host): return (label, guest, host, word)
      case .elsewhere(let host):
        guard let here, here != host else { return (label, guest, host, word) }
        let far = Notation.compact(max(here, host) - min(here, host))
        return (label, guest, host, "\(word), \(far) \(host < here ? "earlier" : "later") in the file")
      default: return (label, guest, nil, word)
      }
    }
    return [
      own.value == 0
        ? nil : neighbour("before", GuestOffset(own.value - geometry.clusterSize), place.previous),
      neighbour("after", own + geometry.clusterSize, place.next),
    ].compactMap { $0 }
  }

  private func words(_ next: Place.Next, _ digits: Int) -> String? {
    switch next {
    case .inOrder: "in order"
    case .elsewhere(let at): "at 0x\(Notation.hex(at.value, width: digits))"
    case .notMapped: "not mapped"
    case .compressed: "compressed"
    case .endOfDisk, .unknown: nil
    }
  }

  /// The bytes at the place as letters; dots for what is no printable ASCII.
  package var letters: String {
    String(
      String.UnicodeScalarView(place.bytes.map { (0x20..<0x7f).contains($0) ? Unicode.Scalar($0) : "." }))
  }

  // MARK: What is wrong

  /// Why the entry or its table cannot be right.
  package var conflicts: [Remark] {
    var remarks: [Remark] = []
    if let conflict = place.tableConflict {
      remarks.append(Remark(label: "conflict", text: "the L2 table: " + conflict.text))
    }
    if let conflict = place.conflict { remarks.append(Remark(label: "conflict", text: conflict.text)) }
    return remarks
  }

  /// What kept the answer from being complete.
  package var problem: Remark? { place.problem.map { Remark(label: "problem", text: $0) } }

  /// Whether the host cluster is in order; nil if it is, or if that is not known.
  package func health(_ staleness: Staleness?) -> Remark? {
    switch place.health {
    case nil, .sound: return nil
    case .uncounted:
      let text = "\(HostHealth.uncounted.name): \(staleness?.text ?? "")"
      return Remark(label: "health", text: text, isProblem: false)
    case .leaked?, .tooLow?, .mixed?, .pastEnd?:
      // Where an entry tells the reason, the word alone would say less.
      guard conflicts.isEmpty, let health = place.health else { return nil }
      let users = counted(place.owners.count { !$0.isRemark }, "owner")
      let reason = place.refcount.map { ": \(users), refcount \($0)" } ?? ""
      return Remark(label: "health", text: health.name + reason)
    }
  }
}
