// Other images for the explorer: folders of the host, files opened as the command line says, new images.

import Cartography
import Explorer
import Glibc
import Qcow
import Storage
import ToolText

final class HostShelf: ImageShelf {
  private let files: HostFiles
  private let chain: ChainFlags
  /// Opens an image in the mode that the program was started in.
  private let opens: (String, HostFiles, _ salvages: Bool) throws(ImageError) -> Session

  init(
    _ files: HostFiles, _ chain: ChainFlags,
    opens: @escaping (String, HostFiles, _ salvages: Bool) throws(ImageError) -> Session
  ) {
    self.files = files
    self.chain = chain
    self.opens = opens
  }

  var folder: String {
    let near = files.path.map { ByteText.folder(of: NewImage.path($0)) } ?? ""
    guard let found = try? HostFile.find(near.isEmpty ? "." : near) else { return "/" }
    let path = ByteText.text(found.path)
    return path.utf8.last == UInt8(ascii: "/") ? path : path + "/"
  }

  func list(_ folder: String, limit: Int) throws(StorageError) -> FolderListing {
    guard let directory = unsafe ByteText.withCString(folder, { unsafe opendir($0) }) else {
      throw StorageError(.open, name: folder, errno: errno, detail: Output.reason(errno))
    }
    defer { unsafe closedir(directory) }
    var entries: [FolderEntry] = []
    while let entry = unsafe readdir(directory) {
      let kind = unsafe Int32(entry.pointee.d_type)
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe ByteText.text(cString: $0) }
      }
      if name == "." || name == ".." { continue }
      guard entries.count < limit else { return FolderListing(entries, isCut: true) }
      let isOpenQuestion = kind == Int32(DT_LNK) || kind == Int32(DT_UNKNOWN)
      let isFolder = isOpenQuestion ? Self.kind(of: folder + name)?.kind == .folder : kind == Int32(DT_DIR)
      entries.append(FolderEntry(name, isFolder: isFolder))
    }
    return FolderListing(entries)
  }

  private static func kind(of path: String) -> HostFile.Identity? { (try? HostFile.find(path))?.identity }

  func look(at path: String) -> FileLook? {
    let path = NewImage.path(path)
    guard let identity = Self.kind(of: path) else { return nil }
    switch identity.kind {
    case .regular: break
    case .folder: return FileLook(size: nil, kind: "folder")
    case .block, .character: return FileLook(size: nil, kind: "device")
    case .pipe: return FileLook(size: nil, kind: "pipe")
    case .socket: return FileLook(size: nil, kind: "socket")
    case .other: return FileLook(size: nil, kind: "other")
    }
    let size = FileStorage.identity(path: path).map { UInt64(max(0, $0.size)) }
    guard let file = try? FileOpener().open(path, for: .text) else {
      return FileLook(size: size, kind: "closed")
    }
    return FileLook(size: size, kind: (try? FileFormat.name(of: file)) ?? "?")
  }

  func open(_ path: String, secret: Secret?, salvages: Bool) throws(ImageError) -> Session {
    try files.turn(to: path, secret: secret) { () throws(ImageError) in try opens(path, files, salvages) }
  }

  func scene(of path: String) throws(ImageError) -> Scene {
    var opening = ImageOpening(NewImage.path(path))
    opening.reach = .image
    opening.demand = .look
    do throws(ImageOpening.Failure) {
      guard let image = try opening.open().image else {
        throw ImageOpening.Failure.image(
          ImageError(.unsupported, "the file is raw, which has no tables to compare"))
      }
      return Scene(image, of: .file(path))
    } catch {
      switch error {
      case .file(let reason): throw ImageError(reason)
      case .image(let reason): throw reason
      }
    }
  }

  func backing(
    _ name: String, format: String?, of path: String
  ) throws(CreateRequest.Refusal) -> CreateRequest.Backing {
    try NewImage.look(name, format, path, chain.policy)
  }

  func make(_ request: CreateRequest, at path: String) throws(ImageError) {
    do throws(Opening.Refusal) { try NewImage.make(request, path) } catch {
      throw ImageError(.option, error.text)
    }
  }
}
