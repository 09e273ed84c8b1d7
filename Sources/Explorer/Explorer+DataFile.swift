// Two host files: an image with an external data file keeps its tables in one and the guest's bytes in the
// other. A host address is always one of the file that the host map shows, and the map names it.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

extension Explorer {
  /// Host addresses on the screen are places in the external data file.
  var showsDataFile: Bool {
    session.dataMap != nil && (ui.screen == .hex ? ui.hexFile : ui.cursor.file) == .data
  }

  /// The file that host addresses on the screen are about.
  var hostStorage: any Storage {
    if showsDataFile, let map = session.dataMap { return map.file }
    return session.overlay
  }

  var hostLength: UInt64 { hostStorage.length }

  /// The name of the external data file, for people; nil without one.
  var dataFileName: String? {
    guard geometry.hasExternalData else { return nil }
    let name = session.dataMap?.file.name ?? session.image.extensions.dataFileName ?? ""
    return TextWidth.sanitized(ByteText.lastPart(of: name))
  }

  /// " of disk.qcow2" or " of data.raw" where there are two files.
  var hostMapTitle: String {
    guard let dataFileName else { return "2 Host map" }
    return "2 Host map of " + (showsDataFile ? "the data file \(dataFileName)" : "the image file")
  }

  func showOtherFile() throws(CommandError) {
    guard geometry.hasExternalData else { throw CommandError("the image has no external data file") }
    guard session.dataMap != nil else {
      throw CommandError("the external data file '\(dataFileName ?? "")' is not open")
    }
    remember()
    ui.focus = 2
    ui.cursor.file = ui.cursor.file == .data ? .image : .data
    ui.cursor.side = .host
    settle()
    setCursor(.host, min(ui.cursor.host, max(1, hostTotal) - 1))
  }

  /// The owners of the cluster at a place of the file that is shown.
  func hostOwners(_ host: HostOffset) -> OwnerList {
    let cluster = geometry.cluster(of: host)
    if showsDataFile, let map = session.dataMap { return map.owners(of: cluster) }
    return session.owners.owners(of: cluster)
  }
}
