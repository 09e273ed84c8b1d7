// Opening, describing, scanning and checking: what a person sees of a file before anything is changed.

import Cartography
import Explorer
import Qcow
import QcowFormat
import Storage
import ToolText

extension FuzzTarget {
  func runOpen(_ input: [UInt8]) throws {
    for writable in [false, true] {
      let storage = SmallStorage(input)
      let options = openOptions(storage, writable: writable, layers: MemoryLayers())
      guard let image = try? Image(storage, options: options) else { continue }
      try describe(image)
      if writable {
        try? image.flush()
        try? image.close()
      } else {
        scan(image)
      }
    }
    checkOnce(SmallStorage(input))
  }

  /// What `qatlas info` prints.
  private func describe(_ image: Image) throws {
    let text = try? InfoText(name: "image", storage: image.storage, content: .qcow2(image))
    if let text {
      try require(!text.human.isEmpty, "no text about an image that opens")
      _ = text.report
    }
    for snapshot in image.snapshots.prefix(64) { _ = try? image.readL1(of: snapshot) }
  }

  /// What `qatlas check --details` prints.
  func checkOnce(_ storage: any Storage) {
    var findings = 0
    guard let check = try? ImageCheck(storage, namesOwners: true, report: { _ in findings += 1 }) else {
      return
    }
    _ = check.run()
    check.notes { _ in findings += 1 }
  }

  /// The maps, as far as a few steps bring them, and every kind of question to them.
  func scan(_ image: Image) {
    let atlas = Atlas(image)
    var steps = 0
    while !atlas.step(budgetNanoseconds: 1_000_000), steps < 20 { steps += 1 }
    let owners = Owners(atlas)
    let map = ByteMap(owners)
    _ = atlas.totals
    for log2 in [-5, 0, 4, 40] {
      for first in [0, 7, UInt64.max] {
        _ = atlas.guestCells(first: first, cellClustersLog2: log2, count: 40)
        _ = atlas.hostCells(first: first, cellClustersLog2: log2, count: 40)
      }
    }
    let clusterSize = image.geometry.clusterSize
    for step in [0, 1, 2, 3, 4, 5, 8, 13, 21, UInt64(UInt32.max), .max] {
      let offset = step.multipliedReportingOverflow(by: clusterSize).partialValue &+ step
      _ = Place.guest(GuestOffset(offset), in: atlas)
      _ = Place.host(HostOffset(offset), in: owners)
      // Every field asks for its owner.
      if step < 3 { _ = map.fields(from: HostOffset(offset), count: 64) }
      _ = owners.owners(of: HostCluster(offset))
    }
    guard atlas.isDone, atlas.fileClusters <= 256 else { return }
    var printed = 0
    var layout = LayoutText(atlas, json: false, showsOwners: true) { printed += $0.utf8.count }
    layout.write()
    for cluster in 0..<min(atlas.fileClusters, 8) {
      let offset = cluster * clusterSize + 1
      WhereText(host: HostOffset(offset), in: atlas).write(json: true) { printed += $0.utf8.count }
      guard offset < image.geometry.virtualSize else { continue }
      WhereText(guest: GuestOffset(offset), in: atlas).write(json: false) { printed += $0.utf8.count }
    }
  }
}
