// What the screen of snapshots says of its rows: names, sizes, and what deleting or going back would do.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage
import ToolText

struct SnapshotsWords {
  private let screen: SnapshotsScreen
  private var image: Image { screen.image }

  init(_ screen: SnapshotsScreen) { self.screen = screen }

  /// "no layer", "1 layer", "2 layers".
  static func some(_ count: Int, _ word: String) -> String {
    count == 0 ? "no \(word)" : counted(count, word)
  }

  /// The last part of a path.
  private static func file(_ path: String) -> String {
    path.unicodeScalars.split(separator: "/").last.map { String($0) } ?? path
  }

  /// What stands in front of the name.
  func id(_ row: SnapshotsScreen.Row) -> String {
    switch row {
    case .now: "-"
    case .snapshot(let index): Escaping.human(image.snapshots[index].id)
    case .layer(let depth): "L\(depth)"
    }
  }

  func name(_ row: SnapshotsScreen.Row) -> String {
    switch row {
    case .now: "the disk now"
    case .snapshot(let index): Escaping.human(image.snapshots[index].name)
    case .layer(let depth): Escaping.human(Self.file(screen.layers[depth - 1].layerName))
    }
  }

  /// When a snapshot was taken; what a layer is.
  func taken(_ row: SnapshotsScreen.Row) -> String {
    switch row {
    case .now: return ""
    case .snapshot(let index): return InfoText.date(image.snapshots[index].seconds)
    case .layer(let depth):
      let layer = screen.layers[depth - 1]
      return layer.isMissing ? "missing" : layer is Image ? "qcow2" : "raw"
    }
  }

  /// What a layer holds, in bytes.
  func share(_ row: SnapshotsScreen.Row) -> String {
    guard let share = screen.share(row) else { return "" }
    if share.isMissing { return "missing" }
    guard screen.layerShares.isDone else { return "not counted yet" }
    func text(_ bytes: UInt64?) -> String { bytes.map { Notation.compact($0) } ?? "?" }
    return "read \(text(share.read)) of \(text(share.data)), hidden \(text(share.hidden))"
      + (share.metadata.map { ", tables \(Notation.compact($0))" } ?? "")
  }

  private func shareSentence(_ row: SnapshotsScreen.Row) -> String {
    guard let share = screen.share(row), let data = share.data, screen.layerShares.isDone else {
      return "not counted yet"
    }
    return
      "it holds \(Notation.compact(data)) of data, of which the disk reads \(Notation.compact(share.read)); "
      + "\(Notation.compact(share.hidden ?? 0)) layers above hide, or lie behind the end of the disk"
  }

  /// Saved machine state.
  func state(_ row: SnapshotsScreen.Row) -> String {
    guard case .snapshot(let index) = row else { return "" }
    let size = image.snapshots[index].vmStateSize
    return size > 0 ? Notation.compact(size) : "-"
  }

  /// The size of the disk as the row has it.
  func size(_ row: SnapshotsScreen.Row) -> String {
    switch row {
    case .now: return Notation.compact(image.virtualSize)
    case .snapshot(let index): return Notation.compact(image.snapshots[index].diskSize ?? image.virtualSize)
    case .layer(let depth):
      let layer = screen.layers[depth - 1]
      return layer.isMissing ? "?" : Notation.compact(layer.virtualSize)
    }
  }

  private func bytes(_ clusters: UInt64) -> String {
    Notation.compact(clusters.multipliedReportingOverflow(by: image.geometry.clusterSize).partialValue)
  }

  private func clusters(_ count: UInt64) -> String {
    counted(count, "cluster") + " (\(bytes(count)))"
  }

  /// What the table of snapshots says besides.
  private func facts(_ row: SnapshotsScreen.Row) -> [String] {
    guard case .snapshot(let index) = row else { return [] }
    let snapshot = image.snapshots[index]
    let state =
      snapshot.vmStateSize > 0
      ? "\(Notation.compact(snapshot.vmStateSize)) of machine state" : "no machine state"
    return [
      "taken \(InfoText.date(snapshot.seconds)), ID \(Escaping.human(snapshot.id)), \(state), L1 table at 0x\(Notation.hex(snapshot.l1TableOffset))"
    ]
  }

  /// What the selected row means, a sentence a line.
  func meaning(_ row: SnapshotsScreen.Row) -> [String] {
    if case .layer(let depth) = row {
      let layer = screen.layers[depth - 1]
      let name = Escaping.human(layer.layerName)
      if layer.isMissing { return ["\(name) is not there: what only it holds cannot be read"] }
      return [
        "\(name), \(taken(row)), answers where no layer above it has anything", shareSentence(row),
      ]
        + (layer is Image
          ? ["\(screen.desk.key(.follow)) shows its maps"] : ["a raw file has no tables to explore"])
    }
    guard let holding = screen.holding(row) else { return ["not counted yet"] }
    let shared = holding.used - min(holding.used, holding.alone)
    guard case .snapshot = row else {
      return image.snapshots.isEmpty
        ? ["the disk leads to \(clusters(holding.used)); no snapshot keeps any of them"]
        : [
          "the disk leads to \(clusters(holding.used)), tables included",
          "\(clusters(holding.alone)) only the disk has: going back to a snapshot gives them up",
          "\(clusters(shared)) snapshots have too: a write there copies first",
        ]
    }
    return facts(row) + [
      "it leads to \(clusters(holding.used)), tables included; the disk has \(clusters(holding.withDisk)) of them",
      "deleting it gives back \(clusters(holding.alone)), which nobody else has",
      "\(clusters(shared)) stay: somebody else has them too",
    ]
  }
}
