// The cells of a host map, whoever draws them: whole clusters and more from the atlas, parts of a cluster from what
// the entry of its owner says of them.

import Cartography
import CellScreen
import QcowFormat
import Storage

/// What the cells of a file look like under a lens.
struct HostCells {
  private let scene: Scene
  private let host: HostFile
  private let view: LensView

  init(_ scene: Scene, _ host: HostFile, _ view: LensView) {
    self.scene = scene
    self.host = host
    self.view = view
  }

  /// A cell that stands for 2^`shift` clusters.
  private func look(_ cell: MapCell<HostState>, _ number: UInt64, _ shift: Int) -> CellLook {
    let first = number << UInt64(shift)
    return view.look(cell, first..<first &+ 1 << UInt64(shift), isData: host.isData)
  }

  /// So many cells from one on.
  func looks(_ shape: MapShape, _ first: UInt64, _ count: Int) -> [CellLook] {
    let geometry = scene.geometry
    if let map = host.map {
      let shift = max(0, shape.shift)
      let parts = UInt64(1) << UInt64(shift - shape.shift)
      return (0..<UInt64(count)).map { index in
        let number = (first + index) / parts
        return map.cells(first: number, cellClustersLog2: shift, count: 1).first.map {
          look($0, number, shift)
        } ?? CellLook(" ", .text)
      }
    }
    guard shape.shift < 0 else {
      let cells = scene.atlas.hostCells(first: first, cellClustersLog2: shape.shift, count: count)
      return cells.enumerated().map { look($1, first + UInt64($0), shape.shift) }
    }
    // Parts of a host cluster are what the entry of its owner says about them.
    let perCluster = UInt64(1) << UInt64(-shape.shift)
    var result: [CellLook] = []
    var cell = first
    while cell < first + UInt64(count) {
      let cluster = cell / perCluster
      let end = min((cluster + 1) * perCluster, first + UInt64(count))
      let whole = scene.atlas.hostCells(first: cluster, cellClustersLog2: 0, count: 1).first
      let subclusters =
        whole?.state == .data && view.lens.showsParts
        ? Place.host(geometry.start(of: HostCluster(cluster)), in: scene.owners).subclusters : []
      while cell < end {
        let part = Int(cell % perCluster) * subclusters.count / Int(perCluster)
        if subclusters.indices.contains(part), !subclusters[part].isFilled {
          let glyph = Glyphs.host(.free)
          result.append(CellLook(glyph.scalar(view.glyphs), glyph.role))
        } else {
          result.append(whole.map { look($0, cluster, 0) } ?? CellLook(" ", .text))
        }
        cell += 1
      }
    }
    return result
  }
}

extension Desk {
  /// To the entry that makes somebody an owner of a cluster of the file: on the screen of its table, or among its
  /// bytes.
  ///
  /// - Throws: `CommandError` where nobody owns the cluster.
  func follow(_ owner: Owner, of host: HostOffset) throws(CommandError) {
    switch owner {
    case .l2Table(let l1Index):
      remember()
      let entry = Int(geometry.offsetInCluster(host.value)) / geometry.l2EntrySize
      show(.table(l1Index, entry: entry, subcluster: 0))
    case .data(let l1Index, let l2Index, _, _), .compressed(let l1Index, let l2Index, _, _),
      .beyond(let l1Index, let l2Index, _), .vmState(nil, let l1Index, let l2Index, _):
      remember()
      let inside = geometry.offsetInCluster(host.value) >> UInt64(geometry.subclusterBits)
      show(.table(l1Index, entry: l2Index, subcluster: Int(inside)))
    case .free, .pastEnd: throw CommandError("nobody owns this cluster")
    default:
      // Tables without a screen of their own show their bytes and fields.
      remember()
      show(.hex(host.value, cursor.file))
    }
  }
}
