// Other images for an explorer in tests: folders are lists, files are in memory.

import Cartography
import Explorer
import ExplorerSupport
import Qcow
import Storage
import ToolText

final class MemoryShelf: ImageShelf {
  var folder = "/images/"
  /// Folders by their paths.
  var folders: [String: [FolderEntry]] = [:]
  var images: [String: MemoryStorage] = [:]
  private(set) var made: [String: CreateRequest] = [:]
  private(set) var looked: [String] = []
  private(set) var secrets: [Secret?] = []

  func list(_ folder: String, limit: Int) throws(StorageError) -> FolderListing {
    guard let entries = folders[folder] else {
      throw StorageError(.open, name: folder, detail: "Permission denied")
    }
    return FolderListing(Array(entries.prefix(limit)), isCut: entries.count > limit)
  }

  func look(at path: String) -> FileLook? {
    looked.append(path)
    guard let image = images[path] else { return nil }
    return FileLook(size: image.length, kind: image.length > 0 ? "qcow2" : "raw")
  }

  func open(_ path: String, secret: Secret?, salvages: Bool) throws(ImageError) -> Session {
    secrets.append(secret)
    guard let image = images[path] else { throw ImageError(.storage, "No such file or directory") }
    if salvages {
      let salvage = Salvage(OverlayStorage(base: image, memoryLimit: Salvage.memoryLimit))
      try salvage.run()
      let session = try Session(
        salvage.overlay, title: ByteText.lastPart(of: path), mode: .readOnly, files: MemoryFiles(),
        hasFile: false)
      session.salvaged = salvage
      return session
    }
    return try Session(
      image, title: ByteText.lastPart(of: path), mode: .scratch, files: MemoryFiles(image: image),
      secret: secret)
  }

  func scene(of path: String) throws(ImageError) -> Scene {
    guard let image = images[path] else { throw ImageError(.storage, "No such file or directory") }
    return Scene(try Image(image), of: .file(path))
  }

  func backing(
    _ name: String, format: String?, of path: String
  ) throws(CreateRequest.Refusal) -> CreateRequest.Backing {
    guard name == "base.qcow2" else { throw CreateRequest.Refusal("Could not open '\(name)'") }
    return CreateRequest.Backing(size: 3 << 20, format: format ?? "qcow2")
  }

  func make(_ request: CreateRequest, at path: String) throws(ImageError) {
    let image = MemoryStorage(name: path)
    try Image.create(on: image, request.options)
    images[path] = image
    made[path] = request
  }
}
