// How a subcommand opens an image for a session: under overlays, with its chain, in the mode that is wanted.

import ArgumentParser
import Cartography
import Explorer
import Nbd
import Qcow
import Storage

/// The options of subcommands that work on an image in memory.
struct SessionFlags: PlainOptions {
  @OptionGroup var policy: PolicyOptions
  @OptionGroup var chain: ChainFlags
  @OptionGroup var share: ShareFlag
  @OptionGroup var secrets: SecretOptions

  static var plain: Self {
    var flags = Self()
    flags.policy = .plain
    flags.chain = .plain
    flags.share = .plain
    flags.secrets = .plain
    return flags
  }

  /// Opens the image, for the first time or again. With `salvages` its tables may be destroyed; with `follows` another
  /// program writes it; with `asks` somebody sits in front of a terminal, who can be asked about files that the image
  /// names.
  func open(
    _ image: String, _ files: HostFiles, mode: Session.Mode, salvages: Bool = false, follows: Bool = false,
    readsConfiguration: Bool,
    saysWrongLines: Bool = false, asks: Bool = false
  ) throws(ImageError) -> Session {
    var policy = chain.policy
    // The other program has its locks, and is not to be disturbed by ours.
    let onlyLooks = share.forcesShare || follows
    policy.forcesShare = onlyLooks
    let trust =
      files.trust
      ?? RememberedTrust(
        UserTrust(
          folders: chain.trusted, readsConfiguration: readsConfiguration, saysWrongLines: saysWrongLines,
          asks: asks && !chain.allowsMissing))
    files.trust = trust
    policy.trust = trust
    // The structure can be seen without a layer; what needs it shows as not known.
    policy.allowsMissing = true
    let opener = ImageOpening.sessionChain(image, policy)
    let storage: any Storage
    do throws(StorageError) {
      storage = try files.openImage(opener, writesThrough: mode == .readWrite)
    } catch { throw ImageError(error) }
    if salvages { return try salvaged(storage, files) }
    if !files.askedForSecret {
      files.secret = try secrets.get(for: storage, image)
      files.askedForSecret = true
    }
    return try Session(
      follows ? try followed(storage) : storage, title: ByteText.lastPart(of: image),
      mode: onlyLooks || storage is RemoteStorage ? .readOnly : mode, files: files,
      layers: opener, secret: files.secret, policies: self.policy.policies)
  }

  /// The file as another program writes it.
  private func followed(_ storage: any Storage) throws(ImageError) -> SeenStorage {
    guard let file = storage as? FileStorage else {
      throw ImageError(.unsupported, "only a file of this host can be followed")
    }
    return SeenStorage(file)
  }

  /// What is left of an image, above its file, which nothing can be saved to.
  private func salvaged(_ file: any Storage, _ files: HostFiles) throws(ImageError) -> Session {
    let salvage = Salvage(OverlayStorage(base: file, memoryLimit: Salvage.memoryLimit))
    try salvage.run()
    let session = try Session(
      salvage.overlay, title: ByteText.lastPart(of: file.name), mode: .readOnly, files: files, hasFile: false,
      policies: policy.policies)
    session.salvaged = salvage
    return session
  }
}
