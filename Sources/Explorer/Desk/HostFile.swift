// Two host files: an image with an external data file keeps its tables in one and the guest's bytes in the
// other. A host address is always one of the file that the screen shows, and the screen names it.

import Cartography
import CellScreen
import QcowFormat
import Qcow
import Storage

/// A file that host addresses are about.
struct HostFile {
  private let scene: Scene
  /// It is the external data file, and that is open.
  let isData: Bool

  init(_ scene: Scene, _ kind: HostFileKind) {
    self.scene = scene
    isData = kind == .data && scene.dataMap != nil
  }

  /// The map of the data file, if that is the file.
  var map: DataFileMap? { isData ? scene.dataMap : nil }
  var storage: any Storage { map?.file ?? scene.storage }
  /// Bytes of the file.
  var length: UInt64 { storage.length }

  /// Bytes that its map shows: whole clusters, and those behind the end that are in use.
  var total: UInt64 {
    let geometry = scene.geometry
    let clusters =
      map?.clusters ?? max(scene.atlas.hostClusters, geometry.clustersCovering(scene.storage.length))
    return clusters.multipliedReportingOverflow(by: geometry.clusterSize).partialValue
  }

  /// Digits of an address in the file: the same everywhere, so that nothing beside it moves.
  var digits: Int { max(6, String(max(1, total) - 1, radix: 16).count) }

  /// The owners of the cluster at a place of the file.
  func owners(_ host: HostOffset) -> OwnerList {
    let cluster = scene.geometry.cluster(of: host)
    return map?.owners(of: cluster) ?? scene.owners.owners(of: cluster)
  }
}

extension Scene {
  /// The name of the external data file, for people; nil without one.
  var dataFileName: String? {
    guard geometry.hasExternalData else { return nil }
    let name = dataMap?.file.name ?? image.extensions.dataFileName ?? ""
    return TextWidth.sanitized(ByteText.lastPart(of: name))
  }
}
