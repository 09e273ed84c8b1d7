// The rows of the host screen's lists: what fills the file and could be given back, each with the place that Enter
// goes to, and the owners of a cluster with their neighbours on the disk.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

/// A row of the figures.
struct HostFigure {
  /// What it is about.
  private enum Kind {
    case part(HostState)
    case total
    /// In conflict, or counted too high, whatever it is.
    case state(HostState)
    /// A place of its own; nil if there is none, or if it is not known.
    case place(UInt64?)
    case none
  }

  private let kind: Kind
  /// In at most eight letters, for narrow lists.
  let short: String
  let name: String
  var glyph: Glyphs.Row?
  /// nil where there is none, or where it is not known.
  var clusters: UInt64?
  var bytes: UInt64?
  var percent: Double?
  /// The first byte of its place.
  var host: UInt64?
  /// A sentence about it without a full stop.
  let meaning: String

  /// All rows of the file that a screen shows.
  static func rows(_ screen: HostScreen) -> [HostFigure] {
    let desk = screen.desk
    let figures = screen.figures
    let geometry = desk.geometry
    let size = geometry.clusterSize
    var rows: [HostFigure] = []
    func percent(_ bytes: UInt64) -> Double? { figures.isComplete ? figures.percent(bytes) : nil }
    for state in HostState.allCases where state != .pastEnd && state != .wrong {
      let part = figures[state]
      guard part.clusters > 0 || [.data, .free, .leaked].contains(state) else { continue }
      let entry = Legend.host(state)
      rows.append(
        HostFigure(
          kind: .part(state), short: entry.short, name: entry.name, glyph: Glyphs.row(state),
          clusters: part.clusters, bytes: part.bytes, percent: percent(part.bytes),
          meaning: "\(meaning(state)); \(part.bytes) bytes"))
    }
    rows.append(
      HostFigure(
        kind: .total, short: "total", name: "whole file", clusters: figures.clusters,
        bytes: figures.length, percent: figures.isComplete ? 100 : nil,
        meaning: "\(figures.length) bytes, the length of the file"))
    for (state, count, short, text) in [
      (HostState.wrong, figures.conflicts + figures.behindEnd, "bad", "in conflict, whatever they are above"),
      (
        .leaked, figures.countedTooHigh, "too high",
        "counted above, with an owner, and a refcount that says more"
      ),
    ] where count > 0 || state == .wrong {
      rows.append(
        HostFigure(
          kind: .state(state), short: short, name: short == "bad" ? "bad" : "over-counted",
          glyph: Glyphs.row(state), clusters: count,
          meaning: count == 0 ? "no cluster is in conflict" : text))
    }
    let tail = figures.end.map { $0 / size }
    rows.append(
      HostFigure(
        kind: .place((figures.freeAtTail ?? 0) > 0 ? tail : nil), short: "tail", name: "free at tail",
        clusters: figures.freeAtTail, bytes: figures.couldCut, percent: figures.couldCut.flatMap(percent),
        meaning: "free behind the last cluster in use: the file could be cut there at once, which defrag does"
      ))
    let search = screen.freeRuns
    for (number, run) in search.runs.enumerated() where search.isDone {
      let bytes = UInt64(run.count) &* size
      rows.append(
        HostFigure(
          kind: .place(run.lowerBound), short: "run \(number + 1)", name: "free run \(number + 1)",
          clusters: UInt64(run.count), bytes: bytes, percent: percent(bytes), host: run.lowerBound &* size,
          meaning:
            "the \(ordinal(number + 1)) row of free clusters, at 0x\(Notation.hex(run.lowerBound &* size))"))
    }
    rows.append(
      HostFigure(
        kind: .none, short: "leaks", name: "leaks freed",
        clusters: figures.couldFree.map { _ in figures[.leaked].clusters },
        bytes: figures.couldFree, percent: figures.couldFree.flatMap(percent),
        meaning: "free as soon as check -r leaks has lowered their refcounts; what holds data is named first")
    )
    rows.append(
      HostFigure(
        kind: .none, short: "compact", name: "compacted", clusters: figures.couldCompact.map { $0 / size },
        bytes: figures.couldCompact, percent: figures.couldCompact.flatMap(percent),
        meaning:
          "free in front of the last cluster in use: defrag moves clusters there, and the file gets so much shorter"
      ))
    let last = figures.lastInUse(geometry)
    let owner = last.flatMap { name(desk.host.owners(geometry.start(of: $0)), desk) }
    rows.append(
      HostFigure(
        kind: .place(last?.value), short: "last", name: "last in use",
        host: last.map { geometry.start(of: $0).value },
        meaning: figures.endSentence(geometry, owner: owner)))
    if !desk.host.isData {
      let next = screen.nextCluster
      rows.append(
        HostFigure(
          kind: .place(next.flatMap { $0.isBehindEnd ? nil : $0.cluster.value }), short: "next",
          name: "next new", host: next.map { geometry.start(of: $0.cluster).value },
          meaning: next?.sentence(geometry) ?? desk.scene.atlas.staleness?.text ?? "not known yet"))
    }
    return rows
  }

  private static func ordinal(_ number: Int) -> String {
    ["longest", "second longest", "third longest"].indices.contains(number - 1)
      ? ["longest", "second longest", "third longest"][number - 1] : "\(number)th longest"
  }

  /// Who has a cluster, in words; nil if nobody is known.
  private static func name(_ list: OwnerList, _ desk: Desk) -> String? {
    let named = list.owners.filter { !$0.isRemark }
    let count = max(UInt64(named.count), list.ownerCount)
    guard let first = (named.first ?? list.owners.first) else { return nil }
    let text = Escaping.human(first.text(snapshots: desk.scene.image.snapshots))
    return count > 1 ? "\(text), and \(count - 1) more" : text
  }

  private static func meaning(_ state: HostState) -> String {
    switch state {
    case .header: "the header, which names everything else"
    case .refcountTable: "where the refcount blocks lie"
    case .refcountBlock: "how many users every cluster has"
    case .l1Table: "where the L2 tables lie"
    case .l2Table: "where the clusters of the disk lie"
    case .snapshotTable: "the list of the snapshots"
    case .snapshotTables: "tables that only snapshots use"
    case .bitmap: "bitmaps of what changed, with their directory and tables"
    case .crypto: "the encryption header with the key slots"
    case .vmState: "saved machine state"
    case .data: "bytes of the guest"
    case .compressed: "compressed bytes of the guest"
    case .free: "nobody uses them; new clusters go there first"
    case .hole: "in use, and the host stores no byte for them"
    case .leaked: "a refcount counts them, and nothing refers to them"
    case .wrong: "in conflict"
    case .pastEnd: "behind the end of the file"
    }
  }

  /// The cluster that Enter goes to: of a kind the next one behind `cluster`, round the end of the file.
  ///
  /// - Throws: `CommandError` where there is none.
  func place(_ screen: HostScreen, behind cluster: UInt64) throws(CommandError) -> UInt64 {
    switch kind {
    case .part(let state), .state(let state):
      guard !screen.desk.host.isData else {
        throw CommandError(
          "kinds are not looked for in the data file; \(screen.desk.key(.otherFile)) shows the image file")
      }
      let atlas = screen.desk.scene.atlas
      if let next = atlas.nextHost(state, from: cluster, forward: true) { return next }
      if atlas.hostCells(first: 0, cellClustersLog2: 0, count: 1).first?.contains(state) == true { return 0 }
      guard let first = atlas.nextHost(state, from: 0, forward: true) else {
        throw CommandError("there is none of it")
      }
      return first
    case .place(let place?): return place
    case .place(nil):
      throw CommandError(host == nil ? "there is none of it" : "it lies behind the end of the file")
    case .total, .none: throw CommandError("'\(name)' is a sum, and no cluster stands for it")
    }
  }
}

/// A row of the pane of owners: one of them, or a neighbour of the cluster on the disk.
struct HostOwner {
  private enum Target {
    case owner(Owner)
    case neighbour(GuestOffset)
  }

  /// "1", "before".
  let label: String
  let text: String
  private let target: Target
  /// The cluster it is about.
  private let host: HostOffset

  /// All that are known of the cluster of the cursor.
  static func rows(_ desk: Desk) -> [HostOwner] {
    let host = HostOffset(desk.cursor.host)
    let list = desk.host.owners(host)
    let snapshots = desk.scene.image.snapshots
    var rows = list.owners.filter { !$0.isRemark }.enumerated().map { number, owner in
      let place =
        owner.place.map {
          "guest 0x\(Notation.hex($0.value))"
            + (desk.width < 110 ? "  " : " (\(Notation.compact($0.value)))  ")
        } ?? ""
      let holder = Escaping.human(owner.holder(snapshots: snapshots))
      let text = Escaping.human(owner.text(snapshots: snapshots))
      return HostOwner(
        label: "\(number + 1)", text: place + (text.hasPrefix(holder) ? "" : "\(holder): ") + text,
        target: .owner(owner), host: host)
    }
    if rows.isEmpty, let remark = list.owners.first {
      rows.append(
        HostOwner(label: "-", text: remark.text(snapshots: snapshots), target: .owner(remark), host: host))
    }
    for neighbour in PlaceWords(desk.place, of: desk.scene.image).neighbours {
      rows.append(
        HostOwner(
          label: neighbour.label,
          text: "guest 0x\(Notation.hex(neighbour.guest.value)) is \(neighbour.text)",
          target: .neighbour(neighbour.guest), host: neighbour.host ?? host))
    }
    return rows
  }

  /// To the entry of an owner, or to the cluster of a neighbour.
  ///
  /// - Throws: `CommandError` where there is none.
  func follow(_ desk: Desk) throws(CommandError) {
    switch target {
    case .neighbour(let guest):
      guard host.value != desk.cursor.host || !desk.cursor.isTwinned else {
        return desk.jump(.guest, guest.value)
      }
      desk.remember()
      desk.setCursor(.host, host.value)
    case .owner(let owner):
      // Entries without a screen of their own are bytes of the image file.
      let isOfDisk = owner.entry != nil || owner == .free || owner == .pastEnd
      if !isOfDisk, let entry = owner.entry(in: desk.scene.image, desk.scene.owners.bitmaps) {
        desk.remember()
        return desk.show(.hex(entry.value, .image))
      }
      try desk.follow(owner, of: host)
    }
  }
}
