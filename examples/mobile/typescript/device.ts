// The device that an app tells the service of: by its id, an owner is known where strangers have used up what a number has.

export interface Device { id: string; name?: string; platform?: string }

/** Where the id outlives the app, beside the tokens, and a sign-out as well. `undefined`: there is none yet. */
export interface DeviceStorage {
    load(): Promise<string | undefined>;
    save(id: string): Promise<void>;
}

/** The id is made up at the first start, and stays for as long as the app is installed. It is a secret of the app's own. */
export async function openDevice(storage: DeviceStorage, about: Omit<Device, "id"> = {}): Promise<Device> {
    let id = await storage.load();
    if (id === undefined) {
        id = crypto.randomUUID();
        // Saved before it is sent: the service would know a device that is gone.
        await storage.save(id);
    }
    return { id, ...about };
}
