import java.util.UUID
import org.json.JSONObject

/**
 * The device that an app tells the server of: by its id, an owner is known where strangers have used up what a number has.
 * The id is made up at the first start and kept beside the tokens, for as long as the app is installed, also after a
 * sign-out. It is a secret of the app's own: no serial number, no advertising id.
 */
class Device(load: () -> String?, save: (String) -> Unit, private val name: String? = null) {
    // Saved before it is sent: the server would know a device that is gone.
    private val id = load() ?: UUID.randomUUID().toString().also(save)

    /** What requests for codes, sign-ins and refreshes bring as `device`. */
    fun toJson(): JSONObject = JSONObject().put("id", id).putOpt("name", name).put("platform", "android")
}
